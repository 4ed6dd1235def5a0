"""Small models for the tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Generator

from elbo.models.vae import VAE, Design


def small_vae(
    shape: tuple[int, int],
    hidden: Sequence[int],
    generator: Generator,
    *,
    activation: str = "relu",
    latent: int = 2,
    posterior: str = "diagonal",
    **architecture: Any,
) -> VAE:
    """A VAE; by default a fully connected one with a diagonal posterior and a latent plane."""
    settings = {"kind": "mlp", "hidden": list(hidden), "residual": False} | architecture
    return VAE(shape, Design(latent, settings, activation, posterior), generator)
