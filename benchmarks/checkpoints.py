"""The cost of checkpoints: epochs of a VAE on MNIST, with a checkpoint after every second one."""

from __future__ import annotations

import shutil
import statistics
import time

from benchmarks import limits
from elbo import training
from elbo.determinism import prepare
from elbo.optimization import Optimizer
from stages.schema import Params
from stages.train_vae import objective_of
from workflow.core import dataset
from workflow.core.params import load
from workflow.runs.checkpoints import Checkpoints
from workflow.runs.console import run
from workflow.runs.identity import Inputs

PAIRS = 6


def main() -> None:
    """Prints the medians of an epoch and of a checkpoint, and their ratio."""
    compute, settings = load(Params, "compute", "vae.notebook")
    prepare(compute.threads)
    data = dataset.load("data/binarized.npz")
    objective = objective_of("notebook", settings, data)
    optimizer = Optimizer(objective.model, settings, objective.size)
    checkpoints = Checkpoints(Inputs("benchmark", {}, {}, {}, ()))
    epochs = training.epochs(objective, settings, optimizer)
    rows = []
    without: list[float] = []
    after_checkpoint: list[float] = []
    saving: list[float] = []
    for number in range(2 * PAIRS):
        started_at = time.perf_counter()
        rows.append(next(epochs).row)
        (after_checkpoint if number % 2 else without).append(time.perf_counter() - started_at)
        if number % 2 == 0:
            checkpoints.saved_at = -float("inf")  # due
            started_at = time.perf_counter()
            checkpoints.save(rows, optimizer.state)
            saving.append(time.perf_counter() - started_at)
    shutil.rmtree(checkpoints.folder)
    epoch, checkpoint = statistics.median(without[1:] + after_checkpoint[1:]), statistics.median(saving)
    print(f"{'an epoch with its test pass':<34} {epoch:>5.2f} s")
    print(f"{'… just after a checkpoint':<34} {statistics.median(after_checkpoint[1:]):>5.2f} s")
    ratio = 1 + checkpoint / epoch
    print(f"{'a checkpoint':<34} {checkpoint:>5.3f} s  (epoch + checkpoint) / epoch {ratio:.3f}")
    limits.check("an epoch with a checkpoint / without", ratio)
    limits.report()


if __name__ == "__main__":
    run(main)
