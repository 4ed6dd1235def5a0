"""`make torture`: faults at random moments, each followed by a run that has to end with the same dvc.lock.

Everything random comes from the seed and the fault's number, so `--only 17` replays that fault (of a run of
any length). Its moment is a share of the time that a run takes here; where exactly it falls, the machine
decides.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.audit import change
from tests.closure import ROOT
from tests.conftest import OFF, OFFLINE, Project, clean_environment, commit, copy_of_tree, smallest
from tests.faults import damage, rewind, strike

KINDS = ("kill stage", "kill dvc", "kill both")
OTHERS = (
    "terminate dvc",
    "interrupt",
    "file size limit",
    "two at once",
    "truncated dvc.lock",
    "broken rwlock",
    "flipped bit in the cache",
    "output deleted",
    "output edited",
    "checkpoint damaged",
)
PATIENCE = 900.0  # seconds for a run
TRIES = 20  # until a fault hits: it may come too late
MNIST_STAGE = "train_vae@notebook"
MNIST = 1000  # the number of the first fault there


@dataclass(frozen=True)
class Base:
    """A project to copy for each fault, what its dvc.lock has to be in the end, and how long that took."""

    project: Project
    lock: bytes
    seconds: float
    target: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    number: int
    kind: str
    note: str
    lost: str  # empty: it survived


def main() -> None:
    options = _options()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="torture-", ignore_cleanup_errors=True) as folder:
        jobs: list[Callable[[], Outcome]] = []
        plan = [OTHERS[number % len(OTHERS)] for number in range(options.others)]
        plan += [KINDS[number % len(KINDS)] for number in range(options.kills)]
        wanted = [n for n in range(len(plan)) if options.only is None or n == options.only]
        if wanted:
            small = small_base(Path(folder, "base"))
            print(f"an undisturbed run takes {small.seconds:.0f} s", flush=True)
            jobs += [partial(attempt, small, Path(folder, str(n)), n, plan[n], options.seed) for n in wanted]
        outcomes = together(jobs, options.jobs)
        on_mnist = [n for n in range(MNIST, MNIST + options.mnist) if options.only in (None, n)]
        if on_mnist:
            mnist = mnist_base(Path(folder, "mnist"), options.epochs)
            print(f"an undisturbed training on MNIST takes {mnist.seconds:.0f} s", flush=True)
            # one after the other: two trainings with two threads each would be in each other's way
            outcomes += together(
                [
                    partial(attempt, mnist, Path(folder, f"m{n}"), n, KINDS[n % 3], options.seed)
                    for n in on_mnist
                ],
                1,
            )
    lost = [outcome for outcome in outcomes if outcome.lost]
    for outcome in lost:
        print(f"LOST: fault {outcome.number} ({outcome.kind}; {outcome.note}): {outcome.lost}")
        print(f"  again: python -m tests.torture --seed {options.seed} --only {outcome.number}")
    minutes = (time.monotonic() - began) / 60
    print(
        f"torture: {len(outcomes)} faults tried, {len(outcomes) - len(lost)} survived, {len(lost)} lost "
        f"(seed {options.seed}, {minutes:.0f} min)"
    )
    sys.exit(bool(lost))


def together(jobs: list[Callable[[], Outcome]], workers: int) -> list[Outcome]:
    with ThreadPoolExecutor(workers) as pool:
        outcomes = []
        for outcome in pool.map(lambda job: job(), jobs):
            print(
                f"{outcome.number:>5}  {outcome.kind:<24}  {'LOST' if outcome.lost else 'survived':<8}"
                f"  {outcome.note}",
                flush=True,
            )
            outcomes.append(outcome)
        return outcomes


def small_base(folder: Path) -> Base:
    """The whole pipeline on uci-digits with small settings, one member of each matrix; nothing has run."""
    tree = smallest(folder)
    # long enough to be hit, and to have checkpoints
    tree.edit(r"(\n  notebook:[\s\S]*?)epochs: 2\b", r"\1epochs: 20")
    commit(tree)
    return timed(tree)


def mnist_base(folder: Path, epochs: int) -> Base:
    """Up to the training of one VAE on MNIST, which is still to come."""
    tree = copy_of_tree(folder)
    change(folder / "params.yaml", f"vae.notebook.epochs={epochs}")
    change(folder / "params.yaml", "data.offline_fallback=null")  # a stand-in would not do
    if (ROOT / "data/raw").is_dir():
        shutil.copytree(ROOT / "data/raw", folder / "data/raw")
    else:  # in the surroundings of whoever typed `make torture`, which tests are kept from
        subprocess.run(["dvc", "repro", "-q", "download"], cwd=folder, check=True)
    tree.run("dvc", "repro", "-q", "binarize")
    commit(tree)
    return timed(tree, MNIST_STAGE)


def timed(project: Project, *target: str) -> Base:
    """Runs a copy undisturbed: its dvc.lock is what all others have to end with."""
    twin = project.copy(project.path.with_name(f"{project.path.name}-twin"))
    began = time.monotonic()
    twin.run("dvc", "repro", *target, MLFLOW_TRACKING_URI=OFF)
    seconds = time.monotonic() - began
    lock = (twin.path / "dvc.lock").read_bytes()
    # of the whole pipeline each fault begins somewhere in the middle, so the copy is of what is complete
    return Base(project if target else twin, lock, seconds, target)


def attempt(base: Base, folder: Path, number: int, kind: str, seed: int) -> Outcome:
    """One fault, and the run after it."""
    draw = random.Random(f"{seed}/{number}")
    note = ""
    try:
        for _ in range(TRIES):
            project = base.project.copy(folder)
            if not base.target:
                rewind(project, draw)
            hit, note = disturb(base, project, kind, draw)
            if hit:
                break
            shutil.rmtree(folder)  # it came too late, which is no fault that was tried
        else:
            raise RuntimeError(f"no fault happened in {TRIES} tries")
        if kind in ("truncated dvc.lock", "flipped bit in the cache") or draw.random() < 0.5:
            complete(project, base, "make")
        else:  # the plain command; what it cannot do, the doctor has to mend
            note += ", plain dvc repro"
            if complete(project, base, "dvc", must=False):
                note += ", make doctor"
                dvc(project, "python", "-m", "pipeline.doctor")
                complete(project, base, "dvc")
        got = (project.path / "dvc.lock").read_bytes()
        lost = "" if got == base.lock else f"dvc.lock differs: {different(base.lock, got)}"
    except Exception as error:
        lost = f"{type(error).__name__}: {str(error)[-1500:]}"
    if not lost:
        shutil.rmtree(folder, ignore_errors=True)
    return Outcome(number, kind, note, lost)


def complete(project: Project, base: Base, how: str, *, must: bool = True) -> int:
    """Runs what a user would type next, to its end; returns the exit code.

    Raises:
        RuntimeError: it fails, and must not.
    """
    if how == "make":
        for command in (["python", "-m", "pipeline.doctor", "--first"], ["python", "-m", "stages.check"]):
            dvc(project, *command)
    done = dvc(project, "dvc", "repro", *base.target)
    if "Traceback" in done.stdout or (must and done.returncode):
        raise RuntimeError(f"the run afterwards: {done.stdout}")
    return done.returncode


def dvc(project: Project, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=project.path, env=surroundings(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=PATIENCE,
    )  # fmt: skip


def surroundings() -> dict[str, str]:
    return clean_environment() | OFFLINE | {"MLFLOW_TRACKING_URI": OFF}


def disturb(base: Base, project: Project, kind: str, draw: random.Random) -> tuple[bool, str]:
    """Starts a run, and lets the fault happen to it or after it; whether it did, and when."""
    limit = draw.choice([3_000, 300_000, 1_500_000, 3_000_000]) if kind == "file size limit" else 0
    with (project.path.with_suffix(".log")).open("w") as log:
        process = subprocess.Popen(
            ["dvc", "repro", *base.target], cwd=project.path, env=surroundings(), stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        if limit:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
        # a rewound run has half of the stages before it on average; a fault must not come too late
        moment = draw.uniform(0.02, 0.98) * base.seconds * (1.0 if base.target else 0.4)
        if limit:
            process.wait(timeout=PATIENCE)
            said = Path(log.name).read_text()
            named = "File too large" in said or "disk I/O error" in said  # the latter is DVC's
            if process.returncode and ("Traceback" in said or not named):
                raise RuntimeError(f"it did not say what is wrong: {said}")
            return process.returncode != 0, f"{limit} bytes, exit code {process.returncode}"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=moment)
        at = running(Path(log.name))
        if kind == "two at once":
            second = dvc(project, "dvc", "repro", *base.target)
            process.wait(timeout=PATIENCE)
            if "Traceback" in second.stdout:
                raise RuntimeError(second.stdout)
            return second.returncode != 0, f"in {at}, exit codes {process.returncode} and {second.returncode}"
        hit = strike(process, kind)
        process.wait(timeout=PATIENCE)
    if "Traceback" in Path(log.name).read_text():
        raise RuntimeError(f"the run that was stopped: {Path(log.name).read_text()}")
    damaged = damage(project, kind, draw)
    return hit and damaged is not None, f"at {moment:.1f} s, in {at}{damaged}"


def running(log: Path) -> str:
    stages = re.findall(r"Running stage '(.*?)'", log.read_text())
    return stages[-1] if stages else "dvc itself"


def different(one: bytes, other: bytes) -> str:
    pair = (content.decode(errors="replace").splitlines() for content in (one, other))
    return "; ".join(f"{a.strip()} / {b.strip()}" for a, b in zip(*pair, strict=False) if a != b)[:500]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--others", type=int, default=10, help="faults of other kinds, on uci-digits (10)")
    parser.add_argument("--kills", type=int, default=9, help="SIGKILLs there (9)")
    parser.add_argument("--mnist", type=int, default=2, help="SIGKILLs in a training on MNIST (2)")
    parser.add_argument("--long", action="store_true", help="42 SIGKILLs, and 10 on MNIST")
    parser.add_argument("--epochs", type=int, default=4, help="of that training (4)")
    parser.add_argument("--jobs", type=int, default=2, help="faults at once (2)")
    parser.add_argument("--only", type=int, help="one fault, by its number")
    options = parser.parse_args()
    if options.long:
        options.kills, options.mnist = 42, 10
    if options.only is not None:  # however many the run had of which it was one
        options.kills, options.mnist = options.only + 1, max(0, options.only - MNIST + 1)
        options.kills *= options.mnist == 0
    return options


if __name__ == "__main__":
    main()
