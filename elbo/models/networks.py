"""What the networks of all architectures have in common.

An architecture is a module beside this one with the classes `Encoder` and `Decoder`, and a line in
stages/schema.py that names it and its settings. Both classes get the height and width of the pictures, the
activation, the stream that initial weights are drawn from, and the settings by keyword; the decoder gets the
latent's size, too. They raise a ValueError for pictures that they cannot take; its message begins with
the name of the setting and a colon.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from elbo.models.flow import Flow
from elbo.models.layers import ACTIVATIONS, Activation, Linear
from elbo.models.posteriors import DiagonalNormal, FullNormal, Posterior

POSTERIORS: dict[str, Any] = {"diagonal": DiagonalNormal, "full": FullNormal, "flow": Flow}


class Encoder(nn.Module):
    """q(z|x): the layers of an architecture, then the heads of a posterior.

    A subclass sets `width` and defines `features`.
    """

    width: int  # of the features

    def __init__(self, activation: str) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]

    def features(self, x: Tensor) -> Tensor:
        """Images (N, pixels) of 0.0 and 1.0 to features (N, width)."""
        raise NotImplementedError

    def add_heads(self, posterior: str, latent: int, generator: Generator) -> None:
        """Adds the affine layers that give the posterior's tensors, and the weights that all images share."""
        self.family = POSTERIORS[posterior]
        self.heads = self.family.heads(latent)
        for name, outputs in self.heads.items():
            setattr(self, f"fc_{name}", Linear(self.width, outputs, generator))
        self.shared = self.family.shared(latent, generator)

    def forward(self, x: Tensor) -> Posterior:
        """q(z|x) of images (N, pixels) of 0.0 and 1.0."""
        h = self.features(x)
        tensors = [getattr(self, f"fc_{name}")(h) for name in self.heads]
        q: Posterior = self.family(*tensors, *([] if self.shared is None else [self.shared]))
        return q


class Decoder(nn.Module):
    """p(x|z): independent Bernoulli pixels, by their logits, which are `output(hidden(z))`.

    A subclass defines `bias` and `hidden`, and `output` and `project` if its logits are an affine function of
    the latter.
    """

    def __init__(self, activation: str) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]

    @property
    def bias(self) -> Tensor:
        """(pixels,) what the last layer adds to the logits."""
        raise NotImplementedError

    def hidden(self, z: Tensor) -> Tensor:
        """Latents (N, D) to what `output` and `project` take, (N, H): here the logits themselves."""
        raise NotImplementedError

    def output(self, hidden: Tensor) -> Tensor:
        """(N, H) to logits (N, pixels)."""
        return hidden

    def project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Of images (N, pixels), f (N, H) and b (N,) float64, with x·logits = f·hidden(z) + b for all z."""
        return x, torch.zeros(len(x), dtype=torch.float64)

    def forward(self, z: Tensor) -> Tensor:
        """Latents (N, D) to logits (N, pixels)."""
        return self.output(self.hidden(z))


class Hidden(nn.Module):
    """Mixed into a network: hidden layers `fc1`, `fc2`, … with its activation.

    With `residual`, each layer but the first adds its input to its output (He and others 2016); a layer
    `skip2`, … maps the input to the new width where that differs.
    """

    activation: Activation

    def add_hidden(self, widths: Sequence[int], residual: bool, generator: Generator) -> None:
        self.depth, self.residual = len(widths) - 1, residual
        for number, (inputs, outputs) in enumerate(itertools.pairwise(widths), 1):
            setattr(self, f"fc{number}", Linear(inputs, outputs, generator))
            if residual and number > 1:
                skip = nn.Identity() if inputs == outputs else Linear(inputs, outputs, generator)
                setattr(self, f"skip{number}", skip)

    def run_hidden(self, h: Tensor) -> Tensor:
        """(N, first width) to (N, last width)."""
        for number in range(1, self.depth + 1):
            new = self.activation(getattr(self, f"fc{number}")(h))
            h = new + getattr(self, f"skip{number}")(h) if self.residual and number > 1 else new
        return h


def flops(network: nn.Module) -> int:
    """Floating-point operations of one pass of one image: those of its layers that name theirs."""
    return sum(getattr(layer, "flops", 0) for layer in network.modules())


def area(shape: Sequence[int]) -> int:
    """Pixels of a picture of this height and width."""
    height, width = shape
    return height * width
