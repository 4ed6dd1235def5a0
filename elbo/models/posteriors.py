"""Posteriors q(z|x): what an encoder returns, and all that training and evaluation ask of it.

Another family is one more class, and a line in elbo/models/networks.py.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Generator, Tensor, nn

from elbo.bounds import kl_to_prior, log_normal


class Posterior:
    """q(z|x) of N images with D latent dimensions; a family is a dataclass of the encoder's tensors.

    It defines `heads`, `mean`, `scale`, `sample`, `log_prob`, and what else it does otherwise than here.
    """

    @staticmethod
    def heads(latent: int) -> dict[str, int]:
        """The tensors that the encoder computes for an image, as the class takes them: name and size."""
        raise NotImplementedError

    @staticmethod
    def shared(_latent: int, _generator: Generator) -> nn.Module | None:
        """Weights that all images share, the class's last argument; None if it takes none."""
        return None

    @property
    def mean(self) -> Tensor:
        """(N, D) E_q[z]."""
        raise NotImplementedError

    @property
    def scale(self) -> Tensor:
        """(N, D) the standard deviation of each dimension."""
        raise NotImplementedError

    def sample(self, noise: Tensor) -> Tensor:
        """Reparametrized samples (…, N, D) from standard normal noise (…, N, D)."""
        raise NotImplementedError

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x) of latents (…, N, D), in nats: (…, N)."""
        raise NotImplementedError

    def sample_and_log_prob(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Samples (…, N, D) and their log q(z|x) (…, N)."""
        z = self.sample(noise)
        return z, self.log_prob(z)

    def kl(self) -> Tensor | None:
        """(N, D) terms whose sum over D is KL(q(z|x) || N(0, I)), nats; None if that has no closed form."""
        return None

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Samples (…, N, D), and terms whose sum over the last dimension is the KL divergence, nats.

        The terms are those of `kl`, (N, D); without a closed form, log q(z|x) − log p(z) of the samples,
        (…, N, 1), whose expectation it is.
        """
        z, log_prob = self.sample_and_log_prob(noise)
        return z, (log_prob - log_normal(z)).unsqueeze(-1)

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The encoder's tensors by name, each (N, …)."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def replace(self, **tensors: Tensor) -> Self:
        """The same with other tensors of `parameters`."""
        return dataclasses.replace(self, **tensors)  # type: ignore[type-var]

    def detach(self) -> Self:
        """The same without gradients to the encoder's tensors."""
        return self.replace(**{name: tensor.detach() for name, tensor in self.parameters.items()})

    def __getitem__(self, index: Any) -> Self:
        """The posterior of some of the images."""
        return self.replace(**{name: tensor[index] for name, tensor in self.parameters.items()})


@dataclass(frozen=True)
class DiagonalNormal(Posterior):
    """q(z|x) = N(loc, diag(exp(log_scale)²)), each (N, D) (Kingma and Welling 2014)."""

    loc: Tensor
    log_scale: Tensor

    @staticmethod
    def heads(latent: int) -> dict[str, int]:
        return {"loc": latent, "log_scale": latent}

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def scale(self) -> Tensor:
        return self.log_scale.exp()

    def sample(self, noise: Tensor) -> Tensor:
        return self.loc + noise * self.log_scale.exp()

    def log_prob(self, z: Tensor) -> Tensor:
        return log_normal(z, self.loc, self.log_scale)

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        z = self.sample(noise)
        return z, self.kl()

    def kl(self) -> Tensor:
        """The divergence of each dimension."""
        return kl_to_prior(self.loc, self.log_scale)


@dataclass(frozen=True)
class FullNormal(Posterior):
    """q(z|x) = N(loc, L Lᵀ), where L is lower triangular with the diagonal exp(log_scale).

    Products and solutions are written as sums, since those of LAPACK differ between processors.

    Attributes:
        loc, log_scale: (N, D).
        below: (N, D (D − 1) / 2) the entries of L below its diagonal, row by row.
    """

    loc: Tensor
    log_scale: Tensor
    below: Tensor

    @staticmethod
    def heads(latent: int) -> dict[str, int]:
        return {"loc": latent, "log_scale": latent, "below": latent * (latent - 1) // 2}

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def factor(self) -> Tensor:
        """(N, D, D) L, the Cholesky factor of the covariance."""
        factor = torch.diag_embed(self.log_scale.exp())
        rows, columns = torch.tril_indices(factor.shape[-1], factor.shape[-1], -1)
        factor[..., rows, columns] = self.below
        return factor

    @property
    def scale(self) -> Tensor:
        return self.factor.square().sum(-1).sqrt()

    def sample(self, noise: Tensor) -> Tensor:
        return self.loc + (self.factor * noise.unsqueeze(-2)).sum(-1)

    def sample_and_log_prob(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        return self.sample(noise), log_normal(noise) - self.log_scale.sum(-1)

    def log_prob(self, z: Tensor) -> Tensor:
        left, factor = z - self.loc, self.factor
        noise = torch.zeros_like(left[..., :0])
        for row in range(left.shape[-1]):  # forward substitution
            rest = left[..., row] - (factor[..., row, :row] * noise).sum(-1)
            noise = torch.cat([noise, (rest / factor[..., row, row]).unsqueeze(-1)], -1)
        return log_normal(noise) - self.log_scale.sum(-1)

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        return self.sample(noise), self.kl()

    def kl(self) -> Tensor:
        """½ (loc² + Σ_ii − 1) − log L_ii of each dimension i, where Σ = L Lᵀ."""
        variance = self.factor.square().sum(-1)
        return 0.5 * (self.loc.square() + variance - 1) - self.log_scale
