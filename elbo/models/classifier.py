"""A fully connected classifier of two or more classes."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elbo.models.layers import ACTIVATIONS, Linear, drop


class Classifier(nn.Module):
    """p(y|x): hidden layers with an activation, then logits: one for two classes, else one per class."""

    def __init__(
        self, inputs: int, hidden: Sequence[int], classes: int, activation: str, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        widths = [inputs, *hidden, 1 if classes == 2 else classes]
        self.layers = nn.ModuleList(Linear(*pair, generator) for pair in itertools.pairwise(widths))

    @classmethod
    def from_weights(cls, weights: Mapping[str, Tensor], about: Mapping[str, Any]) -> "Classifier":
        """The trained model; its sizes come from the tensors, its activation from `about`."""
        shapes = [weights[f"layers.{index}.weight"].shape for index in range(len(weights) // 2)]
        hidden = [shape[0] for shape in shapes[:-1]]
        classes = 2 if shapes[-1][0] == 1 else shapes[-1][0]
        model = cls(shapes[0][1], hidden, classes, about["activation"], torch.Generator())
        model.load_state_dict(dict(weights))
        return model.eval().requires_grad_(False)

    def forward(
        self,
        x: Tensor,
        input_dropout: float = 0.0,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """(N, inputs) to logits (N,) or (N, classes); dropout only if a generator is given."""
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

    For one logit: −y log σ(l) − (1 − y) log(1 − σ(l)), the notebook's binary cross-entropy.
    """
    if logits.dim() == 1:
        return F.binary_cross_entropy_with_logits(logits, labels.float())
    return F.cross_entropy(logits, labels)


def predictions(logits: Tensor) -> Tensor:
    """The most probable class: logits (N,) or (N, classes) to (N,) int64."""
    return (logits > 0).long() if logits.dim() == 1 else logits.argmax(1)
