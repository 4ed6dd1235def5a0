"""The slowdown of a training beside another pipeline, and the cost of OMP_WAIT_POLICY=PASSIVE."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import limits, stage_runs
from workflow.core.errors import UserError
from workflow.core.files import md5
from workflow.core.params import set_params
from workflow.runs.console import run

EPOCHS = 4  # the first includes start-up and does not count
ROUNDS = 3
STAGE = "train_vae notebook"
WEIGHTS = "models/vae/notebook.safetensors"
# OpenMP's default: waiting threads spin
SPINNING = "from workflow.core.processor import FIXED as F; F.pop('OMP_WAIT_POLICY'); F.pop('GOMP_SPINCOUNT')"


def main() -> None:
    """Prints the best epoch alone, alone with spinning threads, and beside another pipeline."""
    with stage_runs.clone() as folder, stage_runs.clone() as other:
        set_params(folder / "params.yaml", f"vae.notebook.epochs={EPOCHS}")
        alone, spinning = [], []
        sums = set()
        for _ in range(ROUNDS):
            alone.append(epoch(folder))
            sums.add(md5(folder / WEIGHTS))
            spinning.append(epoch(folder, SPINNING))
            sums.add(md5(folder / WEIGHTS))
        with pipeline(other):
            beside = [epoch(folder)]
            sums.add(md5(folder / WEIGHTS))
    if len(sums) > 1:
        raise UserError("the trainings of this benchmark have different weights")
    best = min(alone)
    print(f"{'an epoch, alone':<44} {best:>6.2f} s")
    for label, times, name, ratio in (
        (
            "… with threads that spin",
            spinning,
            "an epoch / the same with threads that spin",
            best / min(spinning),
        ),
        ("… beside another pipeline", beside, "an epoch beside another pipeline / alone", min(beside) / best),
    ):
        print(f"{label:<44} {min(times):>6.2f} s  {name.partition(' ')[2].strip()} {ratio:.2f}")
        limits.check(name, ratio)
    limits.report()


def epoch(folder: Path, patch: str = "") -> float:
    """Seconds of the best epoch, without the first; from the stage's output."""
    return min(stage_runs.seconds(STAGE, folder, patch)[1][1:])


@contextmanager
def pipeline(folder: Path) -> Iterator[None]:
    """Runs the pipeline up to train_vae@tuned by force in another folder, meanwhile."""
    raw = str(stage_runs.RAW.resolve().parent)
    process = subprocess.Popen(
        ["dvc", "repro", "--force", "--no-run-cache", "--quiet", "train_vae@tuned"],
        cwd=folder, env=stage_runs.user_environment(MNIST_MIRROR=raw), stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # DVC's end does not stop a stage
        process.wait()


if __name__ == "__main__":
    run(main)
