"""A linear Gaussian model: log p(x) and the posterior in closed form, for a latent of any dimension."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from elbo.bounds import log_normal
from elbo.determinism import stream
from elbo.models.posteriors import DiagonalNormal

NOISE = 0.5


@dataclass(frozen=True)
class Linear:
    """x = W z + b + NOISE · ε, and z ~ N(0, I).

    Its encoder gives Gaussians off the posterior: shifted by `shift` and wider by `stretch`, in units of the
    best diagonal Gaussian's scale.
    """

    weight: Tensor  # (pixels, D)
    bias: Tensor
    shift: float
    stretch: float

    def likelihood(self, z: Tensor, x: Tensor) -> Tensor:
        return log_normal(x, z @ self.weight.T + self.bias, math.log(NOISE))

    def sample(self, count: int) -> tuple[Tensor, Tensor]:
        """Latents and images of the model."""
        noise = stream(1, "simulated")
        z = torch.randn(count, self.weight.shape[1], generator=noise)
        pixels = torch.randn(count, len(self.bias), generator=noise)
        return z, z @ self.weight.T + self.bias + NOISE * pixels

    def log_likelihood(self, x: Tensor) -> Tensor:
        weight = self.weight.double()
        covariance = weight @ weight.T + NOISE**2 * torch.eye(len(weight))
        return MultivariateNormal(self.bias.double(), covariance).log_prob(x.double())

    def posterior(self, x: Tensor) -> MultivariateNormal:
        """In float64."""
        weight = self.weight.double()
        precision = torch.eye(weight.shape[1]) + weight.T @ weight / NOISE**2
        loc = torch.linalg.solve(precision, weight.T @ (x - self.bias).double().T / NOISE**2).T
        return MultivariateNormal(loc, precision_matrix=precision)

    def best_diagonal(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Location and scale of the diagonal Gaussian with the highest ELBO."""
        posterior = self.posterior(x)
        scale = posterior.precision_matrix.diagonal(dim1=-2, dim2=-1) ** -0.5
        return posterior.loc, scale.expand_as(posterior.loc)

    def encode(self, x: Tensor) -> DiagonalNormal:
        loc, scale = self.best_diagonal(x)
        loc, scale = loc + self.shift * scale, scale * self.stretch
        return DiagonalNormal(loc.float(), scale.log().float())


def linear(latent: int, shift: float = 0.3, stretch: float = 1.2) -> Linear:
    draws = stream(0, f"linear {latent}")
    weight = torch.randn(latent + 5, latent, generator=draws) / math.sqrt(latent)
    return Linear(weight, torch.randn(latent + 5, generator=draws), shift, stretch)
