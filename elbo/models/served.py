"""The networks of a trained VAE that MLflow serves: they load without this project's code."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from elbo.models.networks import Decoder, Encoder
from elbo.models.vae import VAE

EXAMPLES = 3  # with one, torch.export would treat the batch size as a constant
BINARY = {
    "values": [0.0, 1.0],
    "advice": "binarize grey levels first, as the model's params data.binarization and data.threshold say",
}
ANY = {"values": [], "advice": ""}  # the prior has a density everywhere


class Mean(nn.Module):
    """Images (N, pixels) to the mean of q(z|x), (N, D)."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        mean: Tensor = self.encoder(x).mean
        return mean


class Probabilities(nn.Module):
    """Latents (N, D) to E[x|z], (N, pixels)."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, z: Tensor) -> Tensor:
        x: Tensor = self.decoder(z)
        return x.sigmoid()


def networks(
    weights: Mapping[str, Tensor], about: Mapping[str, Any]
) -> dict[str, tuple[nn.Module, Tensor, Mapping[str, Any]]]:
    """Encoder and decoder of a file of weights by name, with an example of its input and the rule for it."""
    model = VAE.from_weights(weights, about)
    return {
        "vae-encoder": (Mean(model.encoder).eval(), torch.zeros(EXAMPLES, model.pixels), BINARY),
        "vae-decoder": (Probabilities(model.decoder).eval(), torch.zeros(EXAMPLES, model.latent), ANY),
    }
