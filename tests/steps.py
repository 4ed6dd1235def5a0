"""What is checked, and when: of each change before it lands (`.ci/run`), and every night (`make nightly`).

Plain Python that imports nothing of the project, since it runs before anything is installed. A step that
passed is remembered with the state of the working tree; nightly does not run it again for that state.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path(".nightly")  # what passed, each step's log, and verify's clone; ignored by git
RECORD = FOLDER / "passed.json"
MIRROR = Path("..", "shared", "mnist")
CHANGE, NIGHTLY = "change", "nightly"
BOTH = (CHANGE, NIGHTLY)
CLONE = f"{FOLDER}/verified"
# in the clone the packages of this .venv are used
THERE = f"make -s -C {CLONE} -o .venv/installed"
STAND_IN = f"""git clone -q . {CLONE} && cd {CLONE} && dvc repro --force --no-run-cache && cd - >/dev/null
{THERE} repro && (cd {CLONE} && dvc status) | tee {FOLDER}/status
grep -q 'up to date' {FOLDER}/status || {{ echo 'the pipeline left something out of date'; exit 1; }}"""


@dataclass(frozen=True)
class Step:
    """One thing that is checked.

    Attributes:
        command: for bash, with .venv first in the PATH.
        tiers: when it runs.
        needs: a program, and where it comes from. (Tests look for theirs themselves.)
    """

    name: str
    command: str
    tiers: tuple[str, ...] = BOTH
    needs: tuple[str, str] | None = None


@dataclass(frozen=True)
class Outcome:
    """How a step ended: `passed`, `passed before`, `failed`, or `not run: …`; and its seconds."""

    step: Step
    word: str
    seconds: float

    @property
    def good(self) -> bool:
        return self.word.startswith("passed")


def all_steps(mnist: bool) -> list[Step]:
    """All steps, in the order in which they run.

    Args:
        mnist: whether MNIST can be had; without it, the pipeline runs on its stand-in.
    """
    verify = Step("verify", f"rm -rf {CLONE} && make -s verify KEEP={CLONE}")
    stand_in = Step("stand-in", f"rm -rf {CLONE} && {STAND_IN}")
    return [
        Step("install", "make -s .venv/installed-dev"),
        Step("lint", "make -s lint"),
        Step("check", "make -s check"),
        # together: both need the same reproduced project
        Step("test and spine", "make -s spine", (CHANGE,)),
        Step("test", "make -s test", (NIGHTLY,)),
        Step("quick", "make -s quick", (NIGHTLY,)),
        verify if mnist else stand_in,
        Step("slow", "make -s slow", (NIGHTLY,)),
        Step("processors", "make -s processors", (NIGHTLY,), ("qemu-x86_64", "apt-get install qemu-user")),
        Step("audit", "python -m pipeline.audit --set data.dataset=uci-digits --one-core", (NIGHTLY,)),
        Step("torture", "make -s torture", (NIGHTLY,)),
        # where verify left MNIST and all results, and where nobody works
        Step("bench", f"{THERE} bench LIMITS=1", (NIGHTLY,)),
    ]


def main() -> None:
    tier = sys.argv[1] if len(sys.argv) == 2 else ""
    if tier not in BOTH:
        sys.exit(f"usage: python3 -m tests.steps {CHANGE}|{NIGHTLY}")
    os.chdir(ROOT)
    FOLDER.mkdir(exist_ok=True)
    mnist = MIRROR.is_dir() or "MNIST_MIRROR" in os.environ or "GITHUB_ACTIONS" in os.environ
    chosen = [step for step in all_steps(mnist) if tier in step.tiers]
    began, outcomes = time.monotonic(), []
    try:
        for step in chosen:
            print(f"\n=== {step.name} ({time.monotonic() - began:.0f} s)", flush=True)
            outcomes.append(take(step, again=tier == CHANGE))
            if tier == CHANGE and not outcomes[-1].good:
                break
    finally:  # after Ctrl-C too
        text = summary(tier, outcomes, chosen[len(outcomes) :], time.monotonic() - began)
        print(f"\n{text}", flush=True)
        if path := os.environ.get("GITHUB_STEP_SUMMARY"):
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(f"```\n{text}\n```\n")
    sys.exit(not all(outcome.good for outcome in outcomes))


def take(step: Step, *, again: bool) -> Outcome:
    """Runs a step, unless it has passed for this state of the working tree.

    Args:
        again: run it even then.
    """
    before = state()
    if not again and step.name != "install" and (seconds := passed(before).get(step.name)) is not None:
        return Outcome(step, "passed before", seconds)
    if step.needs and shutil.which(step.needs[0]) is None:
        return Outcome(step, f"not run: {step.needs[0]} is missing ({step.needs[1]})", 0.0)
    began = time.monotonic()
    status = logged(["bash", "-euo", "pipefail", "-c", step.command], log(step))
    seconds = time.monotonic() - began
    if status:
        return Outcome(step, f"failed, exit code {status}", seconds)
    if state() == before:
        remember(before, step.name, seconds)
    return Outcome(step, "passed", seconds)


def logged(command: list[str], path: Path) -> int:
    """Runs a command and shows what it prints, here and in a file; returns its exit code."""
    with (
        path.open("wb") as file,
        subprocess.Popen(
            command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process,
    ):
        assert process.stdout
        for line in process.stdout:
            file.write(line)
            sys.stdout.buffer.write(line)
            sys.stdout.flush()
    return process.returncode


def environment() -> dict[str, str]:
    """This process's, in which a missing tool is a failure and never a silent skip."""
    found = os.environ | {"REQUIRE_TOOLS": "1", "GIT_PAGER": "cat"}
    found["PATH"] = f"{ROOT}/.venv/bin{os.pathsep}{found['PATH']}"
    if MIRROR.is_dir():
        found["MNIST_MIRROR"] = str(MIRROR.resolve())
    return found


def log(step: Step) -> Path:
    return FOLDER / f"{step.name.replace(' ', '-')}.log"


def state() -> str:
    """Names the working tree: git's tree of what is in it, committed or not, ignored files left out."""

    def git(*arguments: str, **more: str) -> str:
        return subprocess.run(
            ["git", *arguments], env=os.environ | more, check=True, capture_output=True, text=True
        ).stdout.strip()

    with tempfile.TemporaryDirectory() as folder:  # the user's index and objects stay as they are
        objects = git("rev-parse", "--path-format=absolute", "--git-path", "objects")
        aside = {
            "GIT_INDEX_FILE": f"{folder}/index",
            "GIT_OBJECT_DIRECTORY": folder,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects,
        }
        git("read-tree", "HEAD", **aside)
        git("add", "--all", **aside)
        # verify asks what HEAD gives: which commit it is, is part of the state
        return f"{git('rev-parse', 'HEAD')} {git('write-tree', **aside)}"


def passed(now: str) -> dict[str, float]:
    """The steps that passed for this state, with their seconds."""
    try:
        record = json.loads(RECORD.read_text(encoding="utf-8"))
        return dict(record["steps"]) if record["state"] == now else {}
    except (OSError, ValueError, KeyError, TypeError):  # none, or one that was cut off
        return {}


def remember(now: str, name: str, seconds: float) -> None:
    record = {"state": now, "steps": passed(now) | {name: round(seconds, 1)}}
    RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def summary(tier: str, outcomes: list[Outcome], rest: list[Step], seconds: float) -> str:
    """A line for each step, and the verdict."""
    lines = [f"{outcome.step.name:<16}{outcome.seconds:>7.0f} s  {outcome.word}" for outcome in outcomes]
    lines += [f"{step.name:<16}{'':>9}  not run" for step in rest]
    bad = [outcome.step for outcome in outcomes if not outcome.good]
    lines += [f"  {step.name}: see {log(step)}; by itself: {step.command}" for step in bad]
    if bad or rest:
        count = f"{len(bad)} failed, {len(rest)} not run"
        return "\n".join([*lines, f"{tier}: {count}, of {len(outcomes) + len(rest)} steps ({seconds:.0f} s)"])
    return "\n".join([*lines, f"{tier}: all {len(outcomes)} steps passed ({seconds:.0f} s)"])


if __name__ == "__main__":
    main()
