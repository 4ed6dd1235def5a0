"""The variational autoencoder of the reference: q(z|x) and p(x|z) of binary images and a 2-D latent.

Kingma and Welling, Auto-Encoding Variational Bayes, 2014, with the layer widths of the notebook.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal

from elbo.models.layers import ACTIVATIONS, Linear
from elbo.models.posteriors import DiagonalNormal

LATENT = 2  # dimensions: a plane, which can be drawn and integrated over


class Encoder(nn.Module):
    """q(z|x) = N(loc(x), diag(scale(x)²)); two hidden layers and two affine heads.

    The second head gives log scale (the notebook's `fc_logsigma`), not log variance.
    """

    def __init__(
        self, pixels: int, hidden: Sequence[int], activation: str, generator: torch.Generator
    ) -> None:
        super().__init__()
        first, second = hidden
        self.activation = ACTIVATIONS[activation]
        self.fc1 = Linear(pixels, first, generator)
        self.fc2 = Linear(first, second, generator)
        self.fc_loc = Linear(second, LATENT, generator)
        self.fc_log_scale = Linear(second, LATENT, generator)

    def forward(self, x: Tensor) -> DiagonalNormal:
        """q(z|x) of images (N, pixels) of 0.0 and 1.0."""
        h = self.activation(self.fc2(self.activation(self.fc1(x))))
        return DiagonalNormal(self.fc_loc(h), self.fc_log_scale(h))


class Decoder(nn.Module):
    """p(x|z): independent Bernoulli pixels, by their logits."""

    def __init__(
        self, pixels: int, hidden: Sequence[int], activation: str, generator: torch.Generator
    ) -> None:
        super().__init__()
        first, second = hidden
        self.activation = ACTIVATIONS[activation]
        self.fc1 = Linear(LATENT, first, generator)
        self.fc2 = Linear(first, second, generator)
        self.fc_out = Linear(second, pixels, generator)

    def forward(self, z: Tensor) -> Tensor:
        """Latents (N, 2) to logits (N, pixels)."""
        return self.fc_out(self.hidden(z))

    def hidden(self, z: Tensor) -> Tensor:
        """Latents (N, 2) to the last hidden layer (N, hidden), of which the logits are an affine function."""
        return self.activation(self.fc2(self.activation(self.fc1(z))))

    def likelihood(self, z: Tensor) -> Bernoulli:
        """p(x|z) of latents (N, 2): batch shape (N, pixels)."""
        return Bernoulli(logits=self(z))


def from_prior(count: int, generator: torch.Generator) -> Tensor:
    """Latents (count, 2) from N(0, I)."""
    return torch.randn(count, LATENT, generator=generator)


def straight_lines(starts: Tensor, ends: Tensor, steps: int) -> Tensor:
    """Equally spaced latents from starts (P, 2) to ends (P, 2), ends included: (P, steps, 2)."""
    share = torch.linspace(0, 1, steps)[:, None]
    return starts[:, None] + share * (ends - starts)[:, None]


class VAE(nn.Module):
    """An encoder, and a decoder whose hidden layers have the encoder's widths in reverse order."""

    def __init__(
        self, pixels: int, hidden: Sequence[int], activation: str, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.latent = LATENT
        self.encoder = Encoder(pixels, hidden, activation, generator)
        self.decoder = Decoder(pixels, list(reversed(hidden)), activation, generator)

    @classmethod
    def from_weights(cls, weights: Mapping[str, Tensor], about: Mapping[str, Any]) -> "VAE":
        """The trained model; its sizes come from the tensors, its activation from `about`.

        Raises:
            KeyError, RuntimeError: the weights are not those of such a model.
        """
        first, pixels = weights["encoder.fc1.weight"].shape
        second = weights["encoder.fc2.weight"].shape[0]
        model = cls(pixels, (first, second), about["activation"], torch.Generator())
        model.load_state_dict(dict(weights))
        return model.eval().requires_grad_(False)

    def decode(self, z: Tensor) -> Tensor:
        """E[x|z] of latents (N, 2): (N, pixels) in [0, 1]."""
        return self.decoder(z).sigmoid()

    @property
    def prior(self) -> Normal:
        """p(z) = N(0, I)."""
        return Normal(torch.zeros(LATENT), torch.ones(LATENT))
