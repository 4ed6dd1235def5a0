"""The ELBO and importance-weighted bounds of many images, by many samples, in little memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elbo.bounds import importance_weighted, log_likelihood, log_normal, mean_and_error
from elbo.models.vae import VAE

ROWS = 4000  # latents decoded at once: their logits are 12 MB
ACTIVE = 0.01  # variance of a dimension's posterior mean from which on the dimension is in use


@dataclass(frozen=True)
class Bounds:
    """Bounds of log p(x) for each of N images, float64, nats."""

    reconstruction: Tensor  # (N,) E_q[log p(x|z)], the mean over S samples
    kl: Tensor  # (N, D) terms of KL(q(z|x) || p(z)), exact; (N, 1) by the S samples if it has no closed form
    iwae: Mapping[int, Tensor]  # (N,) by k

    @property
    def elbo(self) -> Tensor:
        """(N,) reconstruction − KL."""
        return self.reconstruction - self.kl.sum(1)

    def __getitem__(self, index: Tensor) -> "Bounds":
        chosen = {k: bound[index] for k, bound in self.iwae.items()}
        return Bounds(self.reconstruction[index], self.kl[index], chosen)

    def summary(self) -> dict[str, Any]:
        """Means over the images, and the standard error of the mean ELBO, None of one image."""
        return {
            **mean_and_error("elbo", self.elbo),
            "reconstruction": self.reconstruction.mean().item(),
            "kl": self.kl.sum(1).mean().item(),
            **{f"iwae_{k}": bound.mean().item() for k, bound in self.iwae.items()},
        }


@torch.no_grad()
def bounds(model: VAE, images: Tensor, samples: int, ks: Sequence[int], generator: torch.Generator) -> Bounds:
    """Bounds of log p(x) of images (N, pixels) of 0.0 and 1.0; all use the same draws from q(z|x).

    Args:
        samples: S draws per image, a multiple of each k. They take memory for S log-weights of a batch only.
        ks: of the importance-weighted bounds.
    """
    parts = []
    for x in images.split(max(1, ROWS // samples)):
        q = model.encoder(x)
        likelihoods, weights, terms = [], [], []
        for first in range(0, samples, chunk := max(1, ROWS // len(x))):
            shape = (min(chunk, samples - first), len(x), model.latent)
            z, log_q = q.sample_and_log_prob(torch.randn(shape, generator=generator))
            logits = model.decoder(z.flatten(0, 1)).unflatten(0, shape[:2])
            likelihood = log_likelihood(logits, x).double()
            likelihoods.append(likelihood)
            weights.append(likelihood + log_normal(z) - log_q)
            terms.append(log_q - log_normal(z))
        log_weights = torch.cat(weights)
        iwae = {k: importance_weighted(log_weights, k) for k in ks}
        exact = q.kl()
        kl = torch.cat(terms).double().mean(0).unsqueeze(1) if exact is None else exact.double()
        parts.append(Bounds(torch.cat(likelihoods).mean(0), kl, iwae))
    return Bounds(
        torch.cat([part.reconstruction for part in parts]),
        torch.cat([part.kl for part in parts]),
        {k: torch.cat([part.iwae[k] for part in parts]) for k in ks},
    )


@torch.no_grad()
def variance_of_means(model: VAE, images: Tensor) -> Tensor:
    """(D,) float64, the variance over images (N, pixels) of the mean of q(z|x), by dimension.

    A dimension is an active unit where that exceeds `ACTIVE` (Burda, Grosse and Salakhutdinov 2016).
    """
    means = torch.cat([model.encoder(x).mean for x in images.split(ROWS)])
    return means.double().var(0, correction=0)
