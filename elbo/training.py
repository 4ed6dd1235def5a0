"""Training as an iterator over epochs: the caller owns the loop and sees each epoch."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from elbo.determinism import stream
from elbo.optimization import Diverged, Optimizer, Settings, batches

# From a minibatch's indices and the number of examples before it in this epoch to its loss, and the sums over
# it of the figures that the epoch reports, (2,) float64 or float32.
Loss = Callable[[Tensor, int], tuple[Tensor, Tensor]]
Scores = dict[str, dict[str, float]]


class Objective(Protocol):
    """A loss to minimize, and the figures that an epoch reports."""

    @property
    def size(self) -> int:
        """The number of training examples."""

    def epoch(self, number: int) -> Loss:
        """The loss of an epoch's minibatches, with the epoch's own random streams."""

    def figures(self, means: Tensor) -> dict[str, float]:
        """The figures by name, from the means (2,) over the examples."""

    def scores(self, number: int) -> Scores:
        """The figures of each held-out split after an epoch."""


@dataclass(frozen=True)
class Epoch:
    """One epoch's figures by split.

    Those of `train` are running means over the minibatches, each before its step, dropout included, as in
    the notebook; the others are of the model after the epoch, with averaged weights if weights are averaged.
    """

    epoch: int  # from 1
    splits: Scores
    seconds: float  # of training alone

    @property
    def row(self) -> dict[str, float | int]:
        """One flat row: epoch, train_elbo, …, test_kl."""
        pairs = [(split, figure) for split, figures in self.splits.items() for figure in figures.items()]
        return {"epoch": self.epoch} | {f"{split}_{name}": value for split, (name, value) in pairs}


def epochs(objective: Objective, settings: Settings, optimizer: Optimizer) -> Iterator[Epoch]:
    """Minimizes the objective by minibatches; yields after each epoch.

    Args:
        optimizer: of the objective's model, which is trained in place and has the averaged weights after the
            last epoch, if weights are averaged. A loaded one continues with the epoch after its state.

    Raises:
        Diverged: an epoch's figures, or the weights after it, are not finite.
    """
    for number in range(optimizer.epochs_done + 1, settings.epochs + 1):
        started = time.perf_counter()
        loss_of = objective.epoch(number)
        totals = torch.zeros(2, dtype=torch.float64)  # read once an epoch
        seen = 0
        for index in batches(objective.size, settings.batch_size, stream(settings.seed, "shuffle", number)):
            loss, sums = loss_of(index, seen)
            optimizer.step(loss)
            totals += sums
            seen += len(index)
        seconds = time.perf_counter() - started
        figures = objective.figures(totals / objective.size)
        require_finite("train", figures, number)
        if not optimizer.finite:  # the figures are of before each step
            raise Diverged(f"a weight after epoch {number} is not finite")
        with optimizer.averaged():
            scores = objective.scores(number)
        for split, held_out in scores.items():
            require_finite(split, held_out, number)
        yield Epoch(number, {"train": figures, **scores}, seconds)
    optimizer.swap_average()


def require_finite(split: str, figures: Mapping[str, float], number: int) -> None:
    """Raises Diverged unless the figures of a split after epoch `number` are finite."""
    for name, value in figures.items():
        if not math.isfinite(value):
            raise Diverged(f"{split} {name} of epoch {number} is {value}")
