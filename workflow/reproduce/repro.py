"""`dvc repro` as `make repro` shows it: each stage with its number and the time left, no hints about git.

The time left is the sum of the seconds of the stages that remain: measured here the last time they ran, else
those of `[tool.workflow.seconds]`. Both are scaled by the pace of this run.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from workflow.core.errors import UserError
from workflow.core.files import read_json, write_json
from workflow.runs import dvc_repo
from workflow.runs.console import run, watch, wrote
from workflow.runs.project import project

# what DVC prints once for each stage, whether or not it runs
STAGE = re.compile(r"(Running stage|Stage) '([^']+)'")
# what it prints for each stage, or at the end, and `make repro` leaves out
HINTS = re.compile(
    r"To track the changes with git, run:|\tgit add |To enable auto staging, run:|\tdvc config core\.auto|"
    r"Use `dvc push` to send|Updating lock file|Generating lock file|> python -m workflow "
)
MEASURED = Path(".work/seconds.json")  # of each stage, when it last ran here; git ignores it
STEADY = 60.0  # seconds: what runs much shorter says little about the pace
BETWEEN = 5.0  # seconds without a line between stages, after which one is written; with console.SILENCE, 15
# gives the stages that have to run, and those that may have to after them; None if that is not known
Due = Callable[[], tuple[set[str], set[str]] | None]


class TimeLeft:
    """The time left of a run."""

    def __init__(self, known: Mapping[str, float], measured: Mapping[str, float], stages: Due) -> None:
        """
        Args:
            known: the seconds of stages, or of stages without their members.
            measured: the seconds of stages when they last ran here.
            stages: is called when the first one runs.
        """
        self.measured = dict(measured)
        self._seconds = {**known, **measured}
        self._stages = stages
        self._running: tuple[str, float] | None = None
        self._expected = self._spent = STEADY
        self._seen: set[str] = set()

    @cached_property
    def _due(self) -> tuple[set[str], set[str]] | None:
        return self._stages()

    def start(self, stage: str, now: float) -> str:
        """Notes that a stage starts; returns ", about 6 min left", or nothing where seconds are not known."""
        self.end(now)
        self._running = stage, now
        if not self._due:
            return ""
        certain, possible = ({stage, *names} - self._seen for names in self._due)
        self._seen.add(stage)
        seconds = [self._seconds_of(name) for name in certain | possible]
        if None in seconds:
            return ""
        left = sum(filter(None, seconds)) * self._spent / self._expected
        return f", {'at most ' * bool(possible - certain)}about {rounded(left)} left"

    def skip(self, stage: str, now: float) -> None:
        """Notes that a stage need not run."""
        self.end(now)
        self._seen.add(stage)

    def end(self, now: float) -> None:
        """Notes that the stage that runs has ended well."""
        if self._running:
            stage, started_at = self._running
            self._spent += now - started_at
            self._expected += self._seconds_of(stage) or now - started_at
            self.measured[stage] = round(now - started_at, 1)
            self._running = None

    def _seconds_of(self, stage: str) -> float | None:
        return self._seconds.get(stage, self._seconds.get(stage.partition("@")[0]))


def rounded(seconds: float) -> str:
    """Seconds as whole minutes, or as tens of seconds below 90; never zero."""
    return f"{round(seconds / 60)} min" if seconds >= 85 else f"{max(1, round(seconds / 10)) * 10} s"


def main() -> None:
    interrupts: list[int] = []  # Ctrl-C reaches DVC too, which says how it ends
    # DVC's lines and those of stages come as they are written
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    arguments = sys.argv[1:]
    with watch("pipeline", BETWEEN, stage_runs), dvc_repo.explained(), dvc_repo.repository() as repo:
        total = len(repo.index.stages)
        # with arguments, other stages may run, or with other settings
        time_left = TimeLeft(project().seconds, measured(), lambda: due(repo)) if not arguments else None
        signal.signal(signal.SIGINT, lambda number, _frame: interrupts.append(number))
        command = ["dvc", "repro", *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as dvc:
            for line in numbered(dvc.stdout or (), total, time_left):
                wrote()
                print(line, end="", flush=True)
    if time_left:
        if not dvc.returncode:
            time_left.end(time.monotonic())
        with contextlib.suppress(OSError):
            write_json(MEASURED, time_left.measured)
    if interrupts:
        raise KeyboardInterrupt
    if dvc.returncode:
        if not arguments:
            with contextlib.suppress(BrokenPipeError):
                print("`make doctor` looks at what may be wrong here", file=sys.stderr)
        sys.exit(dvc.returncode)


def numbered(lines: Iterable[str], total: int, time_left: TimeLeft | None = None) -> Iterator[str]:
    """DVC's lines without its hints and blank lines; a stage's with its number; the time left if it runs."""
    numbers: dict[str, int] = {}
    for line in lines:
        if HINTS.match(line) or not line.strip():
            continue
        if found := STAGE.match(line):
            verb, stage = found.groups()
            if verb == "Running stage":
                left = time_left.start(stage, time.monotonic()) if time_left else ""
                line = f"{found[0]}{left}\n"
            elif time_left:
                time_left.skip(stage, time.monotonic())
            line = f"[{numbers.setdefault(stage, len(numbers) + 1)} of {total}] {line}"
        yield line


def measured() -> dict[str, float]:
    """The seconds of stages when they last ran here."""
    try:
        found = {stage: float(seconds) for stage, seconds in read_json(MEASURED).items()}
    except (OSError, UserError, AttributeError, TypeError, ValueError):  # there are none yet
        return {}
    return {stage: seconds for stage, seconds in found.items() if 0 <= seconds < float("inf")}


def due(repo: Any) -> tuple[set[str], set[str]] | None:
    """The stages that have to run, and those that may have to after them; None where DVC cannot say."""
    try:
        return dvc_repo.due(repo)
    except Exception:  # `dvc repro` says what is wrong
        return None


def stage_runs() -> bool:
    """Whether DVC runs a stage now, which writes lines of its own."""
    return len(psutil.Process().children(recursive=True)) > 1  # DVC, and what it started


if __name__ == "__main__":
    run(main)
