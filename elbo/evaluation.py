"""The ELBO and importance-weighted bounds of many images, by many samples, in little memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from elbo.bounds import importance_weighted, kl_to_prior, log_likelihood, log_normal
from elbo.vae import LATENT, VAE

ROWS = 4000  # latents decoded at once: their logits are 12 MB


@dataclass(frozen=True)
class Bounds:
    """Bounds of log p(x) for each of N images, float64, nats.

    Attributes:
        reconstruction: (N,) E_q[log p(x|z)], the mean over S samples.
        kl: (N, 2) KL(q(z|x) || p(z)) of each latent dimension, exact.
        iwae: (N,) by k.
    """

    reconstruction: Tensor
    kl: Tensor
    iwae: Mapping[int, Tensor]

    @property
    def elbo(self) -> Tensor:
        """(N,) reconstruction − KL."""
        return self.reconstruction - self.kl.sum(1)

    def __getitem__(self, index: Tensor) -> Bounds:
        chosen = {k: bound[index] for k, bound in self.iwae.items()}
        return Bounds(self.reconstruction[index], self.kl[index], chosen)

    def summary(self) -> dict[str, float]:
        """Means over the images, and the standard error of the ELBO's (over images)."""
        elbo = self.elbo
        error = elbo.std().item() / math.sqrt(len(elbo)) if len(elbo) > 1 else 0.0
        means = {
            "elbo": elbo.mean().item(),
            "elbo_se": error,
            "reconstruction": self.reconstruction.mean().item(),
            "kl": self.kl.sum(1).mean().item(),
        }
        return means | {f"iwae_{k}": bound.mean().item() for k, bound in self.iwae.items()}


@torch.no_grad()
def bounds(model: VAE, images: Tensor, samples: int, ks: Sequence[int], generator: torch.Generator) -> Bounds:
    """Bounds of log p(x) by `samples` draws from q(z|x) an image; the same draws serve them all.

    Memory does not grow with the number of images or of samples, but for S log-weights of a batch.

    Args:
        images: (N, pixels) of 0.0 and 1.0.
        samples: S, a multiple of each k.
        ks: of the importance-weighted bounds.
    """
    parts = []
    for x in images.split(max(1, ROWS // samples)):
        loc, log_scale = model.encoder(x)
        likelihoods, weights = [], []
        for first in range(0, samples, chunk := max(1, ROWS // len(x))):
            shape = (min(chunk, samples - first), len(x), LATENT)
            z = loc + torch.randn(shape, generator=generator) * log_scale.exp()
            logits = model.decoder(z.flatten(0, 1)).unflatten(0, shape[:2])
            likelihood = log_likelihood(logits, x).double()
            likelihoods.append(likelihood)
            weights.append(likelihood + log_normal(z) - log_normal(z, loc, log_scale))
        log_weights = torch.cat(weights)
        iwae = {k: importance_weighted(log_weights, k) for k in ks}
        kl = kl_to_prior(loc, log_scale).double()
        parts.append(Bounds(torch.cat(likelihoods).mean(0), kl, iwae))
    return Bounds(
        torch.cat([part.reconstruction for part in parts]),
        torch.cat([part.kl for part in parts]),
        {k: torch.cat([part.iwae[k] for part in parts]) for k in ks},
    )
