"""`dvc repro` as `make repro` shows it: each stage with its number, and without DVC's hints about git."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator

from workflow.runs import dvc_repo
from workflow.runs.console import run

# what DVC prints once for each stage, whether or not it runs
STAGE = re.compile(r"(?:Running stage|Stage) '([^']+)'")
# what it prints after each stage, or at the end, and `make repro` leaves out
HINTS = re.compile(
    r"To track the changes with git, run:|\tgit add |To enable auto staging, run:|\tdvc config core\.auto|"
    r"Use `dvc push` to send|Updating lock file|Generating lock file"
)


def main() -> None:
    with dvc_repo.explained(), dvc_repo.repository() as repo:
        total = len(repo.index.stages)
    interrupts: list[int] = []  # Ctrl-C reaches DVC too, which says how it ends
    signal.signal(signal.SIGINT, lambda number, _frame: interrupts.append(number))
    # DVC's lines come as they are written; a stage's own lines do not pass through here
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    command = ["dvc", "repro", *sys.argv[1:]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as dvc:
        for line in numbered(dvc.stdout or (), total):
            print(line, end="", flush=True)
    if interrupts:
        raise KeyboardInterrupt
    if dvc.returncode:
        with contextlib.suppress(BrokenPipeError):
            print("`make doctor` looks at what may be wrong here", file=sys.stderr)
        sys.exit(dvc.returncode)


def numbered(lines: Iterable[str], total: int) -> Iterator[str]:
    """DVC's lines without its hints and blank lines; puts "[12 of 24]" before a stage's."""
    numbers: dict[str, int] = {}
    for line in lines:
        if HINTS.match(line) or not line.strip():
            continue
        if found := STAGE.match(line):
            line = f"[{numbers.setdefault(found[1], len(numbers) + 1)} of {total}] {line}"
        yield line


if __name__ == "__main__":
    run(main)
