"""The variational autoencoder: q(z|x) and p(x|z) of binary images.

Kingma and Welling, Auto-Encoding Variational Bayes, 2014.
"""

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Generator, Tensor, nn

from elbo.models.networks import Decoder, Encoder, area


@dataclass(frozen=True)
class Design:
    """What builds a model beside the size of the pictures.

    Attributes:
        latent: D, the latent's dimensions.
        architecture: `kind`, a module beside this one, and the settings of its networks.
        activation: between layers (`elbo.models.layers.ACTIVATIONS`).
        posterior: the family of q(z|x) (`elbo.models.networks.POSTERIORS`).
    """

    latent: int
    architecture: Mapping[str, Any]
    activation: str
    posterior: str


class VAE(nn.Module):
    """An encoder and a decoder of one architecture; p(z) = N(0, I).

    Args:
        shape: height and width of the images.
        generator: the stream of the initial weights.

    Raises:
        ValueError: the architecture cannot take pictures of this size; begins with the setting to change.
    """

    def __init__(self, shape: Sequence[int], design: Design, generator: Generator) -> None:
        super().__init__()
        self.shape, self.design = tuple(shape), design
        settings = dict(design.architecture)
        networks = importlib.import_module(f"elbo.models.{settings.pop('kind')}")
        self.encoder: Encoder = networks.Encoder(shape, design.activation, generator, **settings)
        self.encoder.add_heads(design.posterior, design.latent, generator)
        self.decoder: Decoder = networks.Decoder(
            shape, design.latent, design.activation, generator, **settings
        )

    @property
    def latent(self) -> int:
        """D, the latent's dimensions."""
        return self.design.latent

    @property
    def pixels(self) -> int:
        return area(self.shape)

    @property
    def about(self) -> dict[str, Any]:
        """What `from_weights` needs beside the tensors.

        It is no more than the activation for a plain fully connected network with a diagonal posterior and
        square images: all else is in the names and shapes of the tensors.
        """
        about = {"activation": self.design.activation}
        if _plain(self.state_dict(), self.design.activation) == (self.shape, self.design):
            return about
        return about | {"shape": self.shape, "design": vars(self.design)}

    @classmethod
    def from_weights(cls, weights: Mapping[str, Tensor], about: Mapping[str, Any]) -> "VAE":
        """The trained model.

        Args:
            about: contains the model's `about`.

        Raises:
            KeyError, RuntimeError: the weights are not those of such a model.
        """
        if "design" in about:
            shape, design = tuple(about["shape"]), Design(**about["design"])
        else:
            shape, design = _plain(weights, about["activation"])
        model = cls(shape, design, Generator())
        model.load_state_dict(dict(weights))
        return model.eval().requires_grad_(False)

    def decode(self, z: Tensor) -> Tensor:
        """E[x|z] of latents (N, D): (N, pixels) in [0, 1]."""
        return cast(Tensor, self.decoder(z)).sigmoid()


def _plain(weights: Mapping[str, Tensor], activation: str) -> tuple[tuple[int, ...], Design]:
    """Shape and design of the plain model with these tensors, if they are those of one."""
    hidden: list[int] = []
    while (name := f"encoder.fc{len(hidden) + 1}.weight") in weights:
        hidden.append(len(weights[name]))
    side = math.isqrt(weights["encoder.fc1.weight"].shape[1]) if hidden else 0
    architecture = {"kind": "mlp", "hidden": hidden, "residual": False}
    return (side, side), Design(len(weights["encoder.fc_loc.weight"]), architecture, activation, "diagonal")


def from_prior(count: int, latent: int, generator: Generator) -> Tensor:
    """Latents (count, latent) from N(0, I)."""
    return torch.randn(count, latent, generator=generator)


def straight_lines(starts: Tensor, ends: Tensor, steps: int) -> Tensor:
    """Equally spaced latents from starts (P, D) to ends (P, D), ends included: (P, steps, D)."""
    share = torch.linspace(0, 1, steps)[:, None]
    return starts[:, None] + share * (ends - starts)[:, None]
