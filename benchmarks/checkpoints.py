"""What checkpoints cost a training: epochs of a VAE on MNIST, with one after each other epoch."""

from __future__ import annotations

import shutil
import statistics
import time

import torch

from benchmarks import limits
from elbo import training
from elbo.determinism import prepare, stream
from elbo.optimization import Optimizer
from elbo.vae import VAE
from pipeline import dataset
from pipeline.checkpoints import Checkpoints
from pipeline.console import run
from pipeline.identity import Inputs
from pipeline.params import load
from stages.schema import Params

PAIRS = 6


def main() -> None:
    """Prints the median of epochs without a checkpoint, that of checkpoints, and the share of the latter."""
    compute, settings = load(Params, "compute", "vae.notebook")
    prepare(compute.threads)
    data = dataset.load("data/binarized.npz")
    train: torch.Tensor = data.inputs("train")
    model = VAE(data.width, settings.hidden, settings.activation, stream(settings.seed, "init"))
    optimizer = Optimizer(model, settings, len(train))
    kept = Checkpoints(Inputs("benchmark", {}, {}, {}, ()))
    epochs = training.epochs(model, train, {"test": data.inputs("test")}, settings, optimizer)
    rows = []
    without: list[float] = []
    after: list[float] = []
    saving: list[float] = []
    for number in range(2 * PAIRS):
        started = time.perf_counter()
        rows.append(next(epochs).row)
        (after if number % 2 else without).append(time.perf_counter() - started)
        if number % 2 == 0:
            kept.written = -float("inf")  # due
            started = time.perf_counter()
            kept.save(rows, optimizer.state)
            saving.append(time.perf_counter() - started)
    shutil.rmtree(kept.folder)
    epoch, one = statistics.median(without[1:] + after[1:]), statistics.median(saving)
    print(f"{'an epoch with its test pass':<34} {epoch:>5.2f} s")
    print(f"{'… just after a checkpoint':<34} {statistics.median(after[1:]):>5.2f} s")
    ratio = 1 + one / epoch
    print(f"{'a checkpoint':<34} {one:>5.3f} s  (epoch + checkpoint) / epoch {ratio:.3f}")
    limits.limit("an epoch with a checkpoint / without", ratio)
    limits.end()


if __name__ == "__main__":
    run(main)
