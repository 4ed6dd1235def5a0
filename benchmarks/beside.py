"""What a training loses beside other work, and what its threads' short wait costs when it is alone."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import door, limits
from pipeline.audit import change
from pipeline.console import UserError, run
from pipeline.files import md5

EPOCHS = 4  # of which the first, with its start-up, does not count
ROUNDS = 3
STAGE = "train_vae notebook"
WEIGHTS = "models/vae/notebook.safetensors"
# as OpenMP's threads wait by themselves: they spin
SPINNING = "from pipeline.processor import FIXED as F; F.pop('OMP_WAIT_POLICY'); F.pop('GOMP_SPINCOUNT')"


def main() -> None:
    """Prints the best epoch alone, alone with threads that spin, and beside another full pipeline."""
    with door.clone() as place, door.clone() as other:
        change(place / "params.yaml", f"vae.notebook.epochs={EPOCHS}")
        alone, spinning = [], []
        sums = set()
        for _ in range(ROUNDS):
            alone.append(epoch(place))
            sums.add(md5(place / WEIGHTS))
            spinning.append(epoch(place, SPINNING))
            sums.add(md5(place / WEIGHTS))
        with pipeline(other):
            beside = [epoch(place)]
            sums.add(md5(place / WEIGHTS))
    if len(sums) > 1:
        raise UserError("the trainings of this benchmark have different weights")
    best = min(alone)
    print(f"{'an epoch, alone':<44} {best:>6.2f} s")
    for words, times, name, ratio in (
        (
            "… with threads that spin",
            spinning,
            "an epoch / the same with threads that spin",
            best / min(spinning),
        ),
        ("… beside another pipeline", beside, "an epoch beside another pipeline / alone", min(beside) / best),
    ):
        print(f"{words:<44} {min(times):>6.2f} s  {name.partition(' ')[2].strip()} {ratio:.2f}")
        limits.limit(name, ratio)
    limits.end()


def epoch(place: Path, before: str = "") -> float:
    """Seconds of the best epoch but the first; the epochs print them."""
    return min(door.seconds(STAGE, place, before)[1][1:])


@contextmanager
def pipeline(place: Path) -> Iterator[None]:
    """Meanwhile the whole pipeline runs by force in another folder."""
    raw = str(door.RAW.resolve().parent)
    process = subprocess.Popen(
        ["dvc", "repro", "--force", "--no-run-cache", "--quiet", "train_vae@tuned"],
        cwd=place, env=door.user_environment(MNIST_MIRROR=raw), stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # a stage outlives its dvc
        process.wait()


if __name__ == "__main__":
    run(main)
