"""The steps that check each change (`.ci/run`), and those that run every night (`make nightly`).

Plain Python that imports nothing of the project, since it runs before anything is installed. A step that
passed is recorded with the state of the working tree; nightly does not run it again for that state.
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
FOLDER = Path(".nightly")  # passed steps, the log of each step, verify's clone; ignored by git
RECORD = FOLDER / "passed.json"
MIRROR = Path("..", "shared", "mnist")
CHANGE, NIGHTLY = "change", "nightly"
TIERS = (CHANGE, NIGHTLY)
CLONE = f"{FOLDER}/verified"
# make in the clone, with the packages of this .venv
MAKE_IN_CLONE = f"make -s -C {CLONE} -o .venv/installed"
STAND_IN = f"""git clone -q . {CLONE} && cd {CLONE} && dvc repro --force --no-run-cache && cd - >/dev/null
{MAKE_IN_CLONE} repro && (cd {CLONE} && dvc status) | tee {FOLDER}/status
grep -q 'up to date' {FOLDER}/status || {{ echo 'the pipeline left something out of date'; exit 1; }}"""


@dataclass(frozen=True)
class Step:
    """A command that checks something.

    Attributes:
        command: for bash, with .venv first in the PATH.
        tiers: when it runs.
        needs: a program, and how to install it. (Tests check for theirs themselves.)
    """

    name: str
    command: str
    tiers: tuple[str, ...] = TIERS
    needs: tuple[str, str] | None = None


@dataclass(frozen=True)
class Outcome:
    """The result of a step (`passed`, `passed before`, `failed…` or `not run: …`) and its seconds."""

    step: Step
    result: str
    seconds: float

    @property
    def good(self) -> bool:
        return self.result.startswith("passed")


def all_steps(mnist: bool) -> list[Step]:
    """All steps, in the order in which they run.

    Args:
        mnist: whether MNIST is available; otherwise the pipeline runs on its stand-in.
    """
    verify = Step("verify", f"rm -rf {CLONE} && make -s verify KEEP={CLONE}")
    stand_in = Step("stand-in", f"rm -rf {CLONE} && {STAND_IN}")
    return [
        Step("install", "make -s .venv/installed-dev"),
        Step("lint", "make -s lint"),
        Step("check", "make -s check"),
        # one step, since both need the same reproduced project
        Step("test-ci", "make -s test-ci", (CHANGE,)),
        Step("test", "make -s test", (NIGHTLY,)),
        Step("quick", "make -s quick", (NIGHTLY,)),
        verify if mnist else stand_in,
        Step("slow", "make -s slow", (NIGHTLY,)),
        Step("processors", "make -s processors", (NIGHTLY,), ("qemu-x86_64", "apt-get install qemu-user")),
        Step(
            "audit", "python -m workflow.reproduce.audit --set data.dataset=uci-digits --one-core", (NIGHTLY,)
        ),
        Step("torture", "make -s torture", (NIGHTLY,)),
        # in the clone, which has MNIST and all results
        Step("bench", f"{MAKE_IN_CLONE} bench LIMITS=1", (NIGHTLY,)),
    ]


def main() -> None:
    tier = sys.argv[1] if len(sys.argv) == 2 else ""
    if tier not in TIERS:
        sys.exit(f"usage: python3 -m tests.steps {CHANGE}|{NIGHTLY}")
    os.chdir(ROOT)
    FOLDER.mkdir(exist_ok=True)
    mnist = MIRROR.is_dir() or "MNIST_MIRROR" in os.environ or "GITHUB_ACTIONS" in os.environ
    selected = [step for step in all_steps(mnist) if tier in step.tiers]
    started_at, outcomes = time.monotonic(), []
    try:
        for step in selected:
            print(f"\n=== {step.name} ({time.monotonic() - started_at:.0f} s)", flush=True)
            outcomes.append(run_step(step, force=tier == CHANGE))
            if tier == CHANGE and not outcomes[-1].good:
                break
    finally:  # after Ctrl-C too
        text = summary(tier, outcomes, selected[len(outcomes) :], time.monotonic() - started_at)
        print(f"\n{text}", flush=True)
        if path := os.environ.get("GITHUB_STEP_SUMMARY"):
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(f"```\n{text}\n```\n")
    sys.exit(not all(outcome.good for outcome in outcomes))


def run_step(step: Step, *, force: bool) -> Outcome:
    """Runs a step, unless it has passed for this state of the working tree.

    Args:
        force: run it even then.
    """
    before = tree_state()
    if not force and step.name != "install" and (seconds := passed_steps(before).get(step.name)) is not None:
        return Outcome(step, "passed before", seconds)
    if step.needs and shutil.which(step.needs[0]) is None:
        return Outcome(step, f"not run: {step.needs[0]} is missing ({step.needs[1]})", 0.0)
    started_at = time.monotonic()
    status = run_logged(["bash", "-euo", "pipefail", "-c", step.command], log_path(step))
    seconds = time.monotonic() - started_at
    if status:
        return Outcome(step, f"failed, exit code {status}", seconds)
    if tree_state() == before:
        record_passed(before, step.name, seconds)
    return Outcome(step, "passed", seconds)


def run_logged(command: list[str], path: Path) -> int:
    """Runs a command, with its output to stdout and a file; returns the exit code."""
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
    """The environment of the steps: REQUIRE_TOOLS makes a missing program a failure, not a skip."""
    variables = os.environ | {"REQUIRE_TOOLS": "1", "GIT_PAGER": "cat"}
    variables["PATH"] = f"{ROOT}/.venv/bin{os.pathsep}{variables['PATH']}"
    if MIRROR.is_dir():
        variables["MNIST_MIRROR"] = str(MIRROR.resolve())
    return variables


def log_path(step: Step) -> Path:
    return FOLDER / f"{step.name.replace(' ', '-')}.log"


def tree_state() -> str:
    """Identifies HEAD and the working tree (git's tree of all files that it does not ignore)."""

    def git(*arguments: str, **variables: str) -> str:
        return subprocess.run(
            ["git", *arguments], env=os.environ | variables, check=True, capture_output=True, text=True
        ).stdout.strip()

    with tempfile.TemporaryDirectory() as folder:  # the user's index and objects do not change
        objects = git("rev-parse", "--path-format=absolute", "--git-path", "objects")
        separate = {
            "GIT_INDEX_FILE": f"{folder}/index",
            "GIT_OBJECT_DIRECTORY": folder,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects,
        }
        git("read-tree", "HEAD", **separate)
        git("add", "--all", **separate)
        # verify reproduces HEAD, so the commit is part of the state
        return f"{git('rev-parse', 'HEAD')} {git('write-tree', **separate)}"


def passed_steps(tree: str) -> dict[str, float]:
    """The steps that passed for this state of the tree, with their seconds."""
    try:
        record = json.loads(RECORD.read_text(encoding="utf-8"))
        return dict(record["steps"]) if record["state"] == tree else {}
    except (OSError, ValueError, KeyError, TypeError):  # no record, or an incomplete one
        return {}


def record_passed(tree: str, name: str, seconds: float) -> None:
    record = {"state": tree, "steps": passed_steps(tree) | {name: round(seconds, 1)}}
    RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def summary(tier: str, outcomes: list[Outcome], not_run: list[Step], seconds: float) -> str:
    """A line for each step, and one for the total."""
    lines = [f"{outcome.step.name:<16}{outcome.seconds:>7.0f} s  {outcome.result}" for outcome in outcomes]
    lines += [f"{step.name:<16}{'':>9}  not run" for step in not_run]
    failed = [outcome.step for outcome in outcomes if not outcome.good]
    lines += [f"  {step.name}: see {log_path(step)}; by itself: {step.command}" for step in failed]
    if failed or not_run:
        count = f"{len(failed)} failed, {len(not_run)} not run"
        return "\n".join(
            [*lines, f"{tier}: {count}, of {len(outcomes) + len(not_run)} steps ({seconds:.0f} s)"]
        )
    return "\n".join([*lines, f"{tier}: all {len(outcomes)} steps passed ({seconds:.0f} s)"])


if __name__ == "__main__":
    main()
