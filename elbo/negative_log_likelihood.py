"""The objective of a classifier: the negative log-likelihood of the labels."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from elbo.determinism import stream
from elbo.models.classifier import Classifier, negative_log_likelihood, predictions
from elbo.training import Loss, Scores


@dataclass(frozen=True)
class NegativeLogLikelihood:
    """−log p(y|x) of a classifier, in nats, and its accuracy in [0, 1]."""

    model: Classifier
    train: tuple[Tensor, Tensor]  # inputs (N, D) and labels (N,)
    held_out: Mapping[str, tuple[Tensor, Tensor]]  # inputs and labels by split
    seed: int
    input_dropout: float
    dropout: float

    @property
    def size(self) -> int:
        return len(self.train[0])

    def epoch(self, number: int) -> Loss:
        inputs, labels = self.train
        generator = stream(self.seed, "dropout", number)

        def loss(index: Tensor, _seen: int) -> tuple[Tensor, Tensor]:
            y = labels[index]
            logits = self.model(inputs[index], self.input_dropout, self.dropout, generator)
            nll = negative_log_likelihood(logits, y)
            hits = (predictions(logits.detach()) == y).sum()
            return nll, torch.stack([nll.detach() * len(y), hits])

        return loss

    def figures(self, means: Tensor) -> dict[str, float]:
        nll, accuracy = means.tolist()
        return {"nll": nll, "accuracy": accuracy}

    def scores(self, _number: int) -> Scores:
        return {split: score(self.model, *pair) for split, pair in self.held_out.items()}


@torch.no_grad()
def score(model: Classifier, inputs: Tensor, labels: Tensor) -> dict[str, float]:
    """`nll` in nats and `accuracy` of inputs (N, D) and labels (N,)."""
    logits = model(inputs)
    accuracy = (predictions(logits) == labels).double().mean()
    return {"nll": negative_log_likelihood(logits, labels).item(), "accuracy": accuracy.item()}
