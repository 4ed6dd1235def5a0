"""A fully connected classifier of two or more classes, and the loop that trains it by maximum likelihood."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elbo.determinism import stream
from elbo.layers import ACTIVATIONS, Linear, drop
from elbo.optimization import Diverged, Optimizer, Settings, batches


class ClassifierSettings(Settings, Protocol):
    @property
    def input_dropout(self) -> float: ...
    @property
    def dropout(self) -> float: ...


class Classifier(nn.Module):
    """p(y|x): hidden layers with an activation, then logits: one for two classes, else one a class."""

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int],
        classes: int,
        activation: str,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        widths = [inputs, *hidden, 1 if classes == 2 else classes]
        pairs = itertools.pairwise(widths)
        self.layers = nn.ModuleList(Linear(before, after, generator) for before, after in pairs)

    @classmethod
    def from_weights(cls, weights: Mapping[str, Tensor], activation: str) -> Classifier:
        """The model of a file of weights; its sizes are those of the tensors."""
        shapes = [weights[f"layers.{index}.weight"].shape for index in range(len(weights) // 2)]
        hidden = [shape[0] for shape in shapes[:-1]]
        classes = 2 if shapes[-1][0] == 1 else shapes[-1][0]
        model = cls(shapes[0][1], hidden, classes, activation, torch.Generator())
        model.load_state_dict(dict(weights))
        return model.eval().requires_grad_(False)

    def forward(
        self,
        x: Tensor,
        input_dropout: float = 0.0,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """(N, inputs) to logits (N,) or (N, classes); dropout only where a generator is given."""
        h = drop(x, input_dropout, generator)
        for layer in self.layers[:-1]:
            h = drop(self.activation(layer(h)), dropout, generator)
        return self.layers[-1](h).squeeze(1)

    def features(self, x: Tensor) -> Tensor:
        """(N, inputs) to the last hidden layer, (N, width)."""
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return x

    def probabilities(self, x: Tensor) -> Tensor:
        """p(y|x): (N, inputs) to (N, classes)."""
        logits = self(x)
        if logits.dim() == 1:
            logits = torch.stack([torch.zeros_like(logits), logits], dim=1)
        return logits.softmax(1)


def negative_log_likelihood(logits: Tensor, labels: Tensor) -> Tensor:
    """−log p(y|x), the mean over N, in nats: logits (N,) or (N, classes), labels (N,) int64.

    Of one logit: −y log σ(l) − (1 − y) log(1 − σ(l)), the notebook's binary cross-entropy.
    """
    if logits.dim() == 1:
        return F.binary_cross_entropy_with_logits(logits, labels.float())
    return F.cross_entropy(logits, labels)


def predictions(logits: Tensor) -> Tensor:
    """The likeliest class: logits (N,) or (N, classes) to (N,) int64."""
    return (logits > 0).long() if logits.dim() == 1 else logits.argmax(1)


@dataclass(frozen=True)
class Epoch:
    """One epoch's figures by split: `nll` in nats and `accuracy` in [0, 1].

    Those of `train` are running means over the minibatches, each before its step, dropout included.
    """

    epoch: int
    splits: dict[str, dict[str, float]]

    @property
    def row(self) -> dict[str, float | int]:
        flat = {f"{split}_{key}": value for split, pair in self.splits.items() for key, value in pair.items()}
        return {"epoch": self.epoch, **flat}


def epochs(
    model: Classifier,
    train: tuple[Tensor, Tensor],
    held_out: Mapping[str, tuple[Tensor, Tensor]],
    settings: ClassifierSettings,
    optimizer: Optimizer | None = None,
) -> Iterator[Epoch]:
    """Minimizes the negative log-likelihood; yields after each epoch.

    Args:
        model: trained in place; after the last epoch it has the averaged weights, if averaged.
        train: inputs (N, D) and labels (N,).
        held_out: the same, to score after each epoch, by split.
        optimizer: of this model; one that has taken up an earlier state goes on with the epoch after it.

    Raises:
        Diverged: an epoch's loss is not finite.
    """
    inputs, labels = train
    size = settings.batch_size
    optimizer = optimizer or Optimizer(model, settings, len(inputs))
    for epoch in range(optimizer.epochs_done + 1, settings.epochs + 1):
        dropout = stream(settings.seed, "dropout", epoch)
        totals = torch.zeros(2, dtype=torch.float64)
        for index in batches(len(inputs), size, stream(settings.seed, "shuffle", epoch)):
            y = labels[index]
            logits = model(inputs[index], settings.input_dropout, settings.dropout, dropout)
            loss = negative_log_likelihood(logits, y)
            optimizer.step(loss)
            hits = (predictions(logits.detach()) == y).sum()
            totals += torch.stack([loss.detach() * len(y), hits])
        nll, accuracy = (totals / len(inputs)).tolist()
        if not torch.isfinite(totals).all():
            raise Diverged(f"the loss of epoch {epoch} is {nll}")
        with optimizer.averaged():
            scores = {split: score(model, *pair) for split, pair in held_out.items()}
        yield Epoch(epoch, {"train": {"nll": nll, "accuracy": accuracy}, **scores})
    optimizer.finish()


@torch.no_grad()
def score(model: Classifier, inputs: Tensor, labels: Tensor) -> dict[str, float]:
    """`nll` in nats and `accuracy` of inputs (N, D) and labels (N,)."""
    logits = model(inputs)
    accuracy = (predictions(logits) == labels).double().mean()
    return {"nll": negative_log_likelihood(logits, labels).item(), "accuracy": accuracy.item()}
