"""Posteriors q(z|x): what an encoder returns, and all that training and evaluation ask of it.

Another posterior is one more class with `mean`, `sample`, `log_prob` and `kl`.
"""

from dataclasses import dataclass

from torch import Tensor

from elbo.bounds import kl_to_prior, log_normal


@dataclass(frozen=True)
class DiagonalNormal:
    """q(z|x) = N(loc, diag(exp(log_scale)²)) of N images, each (N, D) (Kingma and Welling 2014)."""

    loc: Tensor
    log_scale: Tensor

    @property
    def mean(self) -> Tensor:
        """(N, D) E_q[z]."""
        return self.loc

    @property
    def scale(self) -> Tensor:
        return self.log_scale.exp()

    def __getitem__(self, index: int | Tensor) -> "DiagonalNormal":
        """The posterior of some of the images."""
        return DiagonalNormal(self.loc[index], self.log_scale[index])

    def sample(self, noise: Tensor) -> Tensor:
        """Reparametrized samples (…, N, D) from standard normal noise (…, N, D)."""
        return self.loc + noise * self.log_scale.exp()

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x) of latents (…, N, D), in nats: (…, N)."""
        return log_normal(z, self.loc, self.log_scale)

    def kl(self) -> Tensor:
        """KL(q(z|x) || N(0, I)) by dimension, in nats: (N, D); (N, 1) of a posterior that has no such sum."""
        return kl_to_prior(self.loc, self.log_scale)
