"""`make torture`: faults at random moments, each followed by a run that must end with the same dvc.lock.

All random choices depend on the seed and the number of the fault only, so `--only 17` repeats that fault. Its
moment is a share of the time that a run takes on this machine, so it varies a little between repetitions.
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

from tests.conftest import (
    NO_TRACKING,
    OFFLINE,
    Project,
    clean_environment,
    commit,
    copy_smallest,
    copy_working_tree,
)
from tests.support.faults import damage_files, rewind, send_signal
from tests.support.repository import ROOT
from workflow.core.params import set_params

KILLS = ("kill stage", "kill dvc", "kill both")
OTHER_FAULTS = (
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
TIMEOUT = 900.0  # seconds for a run
TRIES = 20  # a fault may come after the end of the run
MNIST_STAGE = "train_vae@notebook"
FIRST_MNIST_NUMBER = 1000  # faults on MNIST have numbers from here


@dataclass(frozen=True)
class Baseline:
    """A project to copy for each fault, its expected dvc.lock, and the seconds of an undisturbed run."""

    project: Project
    lock: bytes
    seconds: float
    target: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    number: int
    kind: str
    note: str
    error: str  # empty if the next run gave the expected dvc.lock


def main() -> None:
    options = _options()
    started_at = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="torture-", ignore_cleanup_errors=True) as folder:
        jobs: list[Callable[[], Outcome]] = []
        plan = [OTHER_FAULTS[number % len(OTHER_FAULTS)] for number in range(options.others)]
        plan += [KILLS[number % len(KILLS)] for number in range(options.kills)]
        numbers = [n for n in range(len(plan)) if options.only is None or n == options.only]
        if numbers:
            small = small_baseline(Path(folder, "base"))
            print(f"an undisturbed run takes {small.seconds:.0f} s", flush=True)
            jobs += [
                partial(check_fault, small, Path(folder, str(n)), n, plan[n], options.seed) for n in numbers
            ]
        outcomes = run_jobs(jobs, options.jobs)
        on_mnist = [
            n
            for n in range(FIRST_MNIST_NUMBER, FIRST_MNIST_NUMBER + options.mnist)
            if options.only in (None, n)
        ]
        if on_mnist:
            mnist = mnist_baseline(Path(folder, "mnist"), options.epochs)
            print(f"an undisturbed training on MNIST takes {mnist.seconds:.0f} s", flush=True)
            # one at a time, since each training uses two threads
            outcomes += run_jobs(
                [
                    partial(check_fault, mnist, Path(folder, f"m{n}"), n, KILLS[n % 3], options.seed)
                    for n in on_mnist
                ],
                1,
            )
    failed = [outcome for outcome in outcomes if outcome.error]
    for outcome in failed:
        print(f"FAILED: fault {outcome.number} ({outcome.kind}; {outcome.note}): {outcome.error}")
        print(f"  repeat: python -m tests.torture --seed {options.seed} --only {outcome.number}")
    minutes = (time.monotonic() - started_at) / 60
    print(
        f"torture: {len(outcomes)} faults tried, {len(outcomes) - len(failed)} passed, {len(failed)} failed "
        f"(seed {options.seed}, {minutes:.0f} min)"
    )
    sys.exit(bool(failed))


def run_jobs(jobs: list[Callable[[], Outcome]], workers: int) -> list[Outcome]:
    with ThreadPoolExecutor(workers) as pool:
        outcomes = []
        for outcome in pool.map(lambda job: job(), jobs):
            print(
                f"{outcome.number:>5}  {outcome.kind:<24}  {'FAILED' if outcome.error else 'passed':<6}"
                f"  {outcome.note}",
                flush=True,
            )
            outcomes.append(outcome)
        return outcomes


def small_baseline(folder: Path) -> Baseline:
    """The whole pipeline on uci-digits with small settings and one member of each matrix."""
    tree = copy_smallest(folder)
    # long enough for faults and checkpoints
    tree.edit(r"(\n  notebook:[\s\S]*?)epochs: 2\b", r"\1epochs: 20")
    commit(tree)
    return measure_baseline(tree)


def mnist_baseline(folder: Path, epochs: int) -> Baseline:
    """The pipeline on MNIST just before the training of a VAE."""
    tree = copy_working_tree(folder)
    set_params(folder / "params.yaml", f"vae.notebook.epochs={epochs}")
    set_params(folder / "params.yaml", "data.offline_fallback=null")  # no stand-in
    if (ROOT / "data/raw").is_dir():
        shutil.copytree(ROOT / "data/raw", folder / "data/raw")
    else:  # with the user's own environment, which may have a proxy or mirror
        subprocess.run(["dvc", "repro", "-q", "download"], cwd=folder, check=True)
    tree.run("dvc", "repro", "-q", "binarize")
    commit(tree)
    return measure_baseline(tree, MNIST_STAGE)


def measure_baseline(project: Project, *target: str) -> Baseline:
    """Runs a copy without faults; its dvc.lock is the expected one."""
    copy = project.copy(project.path.with_name(f"{project.path.name}-copy"))
    started_at = time.monotonic()
    copy.run("dvc", "repro", *target, MLFLOW_TRACKING_URI=NO_TRACKING)
    seconds = time.monotonic() - started_at
    lock = (copy.path / "dvc.lock").read_bytes()
    # faults in the whole pipeline start from a complete project, which `rewind` resets to a random stage
    return Baseline(project if target else copy, lock, seconds, target)


def check_fault(base: Baseline, folder: Path, number: int, kind: str, seed: int) -> Outcome:
    """Causes one fault, then checks that the next run gives the expected dvc.lock."""
    rng = random.Random(f"{seed}/{number}")
    note = ""
    try:
        for _ in range(TRIES):
            project = base.project.copy(folder)
            if not base.target:
                rewind(project, rng)
            hit, note = run_with_fault(base, project, kind, rng)
            if hit:
                break
            shutil.rmtree(folder)  # the fault came after the end of the run: try again
        else:
            raise RuntimeError(f"no fault happened in {TRIES} tries")
        if kind in ("truncated dvc.lock", "flipped bit in the cache") or rng.random() < 0.5:
            finish(project, base, "make")
        else:  # if plain `dvc repro` fails, `make doctor` must repair the project
            note += ", plain dvc repro"
            if finish(project, base, "dvc", required=False):
                note += ", make doctor"
                run_command(project, "python", "-m", "workflow.doctor")
                finish(project, base, "dvc")
        lock = (project.path / "dvc.lock").read_bytes()
        error = "" if lock == base.lock else f"dvc.lock differs: {first_differences(base.lock, lock)}"
    except Exception as exception:
        error = f"{type(exception).__name__}: {str(exception)[-1500:]}"
    if not error:
        shutil.rmtree(folder, ignore_errors=True)
    return Outcome(number, kind, note, error)


def finish(project: Project, base: Baseline, how: str, *, required: bool = True) -> int:
    """Runs the commands that a user would type next; returns the exit code.

    Args:
        how: `make` (as `make repro` does) or `dvc` (`dvc repro` only).

    Raises:
        RuntimeError: the run failed although it was required to succeed, or printed a traceback.
    """
    if how == "make":
        for command in (
            ["python", "-m", "workflow.doctor", "--first"],
            ["python", "-m", "workflow.doctor", "--first"],
        ):
            run_command(project, *command)
    done = run_command(project, "dvc", "repro", *base.target)
    if "Traceback" in done.stdout or (required and done.returncode):
        raise RuntimeError(f"the run afterwards: {done.stdout}")
    return done.returncode


def run_command(project: Project, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=project.path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=TIMEOUT,
    )  # fmt: skip


def environment() -> dict[str, str]:
    return clean_environment() | OFFLINE | {"MLFLOW_TRACKING_URI": NO_TRACKING}


def run_with_fault(base: Baseline, project: Project, kind: str, rng: random.Random) -> tuple[bool, str]:
    """Starts a run and causes the fault during or after it; returns whether it happened, and a note."""
    limit = rng.choice([3_000, 300_000, 1_500_000, 3_000_000]) if kind == "file size limit" else 0
    with (project.path.with_suffix(".log")).open("w") as log:
        process = subprocess.Popen(
            ["dvc", "repro", *base.target], cwd=project.path, env=environment(), stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        if limit:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
        # a rewound project has fewer stages to run, so the fault must come earlier
        delay = rng.uniform(0.02, 0.98) * base.seconds * (1.0 if base.target else 0.4)
        if limit:
            process.wait(timeout=TIMEOUT)
            printed = Path(log.name).read_text()
            reported = "File too large" in printed or "disk I/O error" in printed  # the latter by DVC
            if process.returncode and ("Traceback" in printed or not reported):
                raise RuntimeError(f"the run did not report the fault: {printed}")
            return process.returncode != 0, f"{limit} bytes, exit code {process.returncode}"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=delay)
        at = running_stage(Path(log.name))
        if kind == "two at once":
            second = run_command(project, "dvc", "repro", *base.target)
            process.wait(timeout=TIMEOUT)
            if "Traceback" in second.stdout:
                raise RuntimeError(second.stdout)
            return second.returncode != 0, f"in {at}, exit codes {process.returncode} and {second.returncode}"
        hit = send_signal(process, kind)
        process.wait(timeout=TIMEOUT)
    if "Traceback" in Path(log.name).read_text():
        raise RuntimeError(f"the run that was stopped: {Path(log.name).read_text()}")
    damaged = damage_files(project, kind, rng)
    return hit and damaged is not None, f"at {delay:.1f} s, in {at}{damaged}"


def running_stage(log: Path) -> str:
    stages = re.findall(r"Running stage '(.*?)'", log.read_text())
    return stages[-1] if stages else "dvc itself"


def first_differences(one: bytes, other: bytes) -> str:
    pair = (content.decode(errors="replace").splitlines() for content in (one, other))
    return "; ".join(f"{a.strip()} / {b.strip()}" for a, b in zip(*pair, strict=False) if a != b)[:500]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--others", type=int, default=10, help="faults of other kinds, on uci-digits (10)")
    parser.add_argument("--kills", type=int, default=9, help="SIGKILLs on uci-digits (9)")
    parser.add_argument("--mnist", type=int, default=2, help="SIGKILLs in a training on MNIST (2)")
    parser.add_argument("--long", action="store_true", help="42 SIGKILLs, and 10 on MNIST")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of that training (4)")
    parser.add_argument("--jobs", type=int, default=2, help="faults at once (2)")
    parser.add_argument("--only", type=int, help="one fault, by its number")
    options = parser.parse_args()
    if options.long:
        options.kills, options.mnist = 42, 10
    if options.only is not None:  # the fault may be of a run with more faults
        options.kills, options.mnist = options.only + 1, max(0, options.only - FIRST_MNIST_NUMBER + 1)
        options.kills *= options.mnist == 0
    return options


if __name__ == "__main__":
    main()
