"""Importance-weighted bounds with up to thousands of samples, streamed: memory does not grow with k.

IWAE_k = E[log 1/k Σ p(x, z_i) / q(z_i|x)] (Burda, Grosse and Salakhutdinov 2016) is a lower bound of
log p(x) that rises with k.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from elbo.bounds import log_normal
from elbo.estimates.model import Encode, LogLikelihood
from elbo.estimates.psis import pareto_k, tail_length

IMAGES, SAMPLES = 25, 160  # at once: their logits are 12 MB; 16 divides SAMPLES, as torch draws 16 at a time


@dataclass(frozen=True)
class Curve:
    """Bounds of log p(x) for each of N images, float64, nats."""

    bound: Tensor  # (K, N) IWAE_k, of the k in ascending order
    pareto_k: Tensor  # (N,) of all weights


class Groups:
    """The importance-weighted bound with k samples, averaged over disjoint groups of a stream of weights."""

    def __init__(self, k: int, images: int) -> None:
        self.k, self.filled, self.complete = k, 0, 0
        self.open = torch.full((images,), -math.inf, dtype=torch.float64)  # logsumexp of a group so far
        self.total = torch.zeros(images, dtype=torch.float64)  # of the bounds of complete groups

    def add(self, log_weights: Tensor) -> None:
        """Further log-weights (S, N), float64."""
        while len(log_weights):
            if self.filled == 0 and (whole := len(log_weights) // self.k):
                groups = log_weights[: whole * self.k].unflatten(0, (whole, self.k))
                self._close(groups.logsumexp(1))
                log_weights = log_weights[whole * self.k :]
                continue
            part, log_weights = log_weights.tensor_split([self.k - self.filled])
            self.open = torch.logaddexp(self.open, part.logsumexp(0))
            self.filled += len(part)
            if self.filled == self.k:
                self._close(self.open[None])
                self.open, self.filled = torch.full_like(self.open, -math.inf), 0

    def _close(self, sums: Tensor) -> None:
        self.total += (sums - math.log(self.k)).sum(0)
        self.complete += len(sums)

    @property
    def bound(self) -> Tensor:
        """(N,) the mean over complete groups."""
        return self.total / self.complete


class Weights:
    """A stream of log-weights of N images: their bounds and their Pareto k.

    Args:
        samples: S, how many log-weights there will be.
        ks: of the bounds; each divides S.

    Raises:
        ValueError: a k does not divide S.
    """

    def __init__(self, samples: int, ks: Sequence[int], images: int) -> None:
        if odd := [k for k in ks if samples % k]:
            raise ValueError(f"{samples} samples cannot be split into groups of {odd}")
        self.groups = [Groups(k, images) for k in sorted(ks)]
        self.largest = torch.empty(0, images, dtype=torch.float64)
        self.kept = tail_length(samples) + 1

    def add(self, log_weights: Tensor) -> None:
        """Further log-weights (S, N), float64."""
        for group in self.groups:
            group.add(log_weights)
        largest = torch.cat([self.largest, log_weights])
        self.largest = largest.topk(min(self.kept, len(largest)), 0).values

    def result(self) -> Curve:
        return Curve(torch.stack([group.bound for group in self.groups]), pareto_k(self.largest))


@torch.no_grad()
def curve(
    encode: Encode, likelihood: LogLikelihood, x: Tensor, ks: Sequence[int], generator: torch.Generator
) -> Iterator[Curve]:
    """The bounds of images (N, pixels) for several k by one set of max(ks) samples, batch by batch.

    With the same weights and k dividing k', IWAE_k <= IWAE_k' holds for each image (Jensen).

    Args:
        ks: each divides the largest.

    Raises:
        ValueError: one does not, or the largest is below 25.
    """
    samples = max(ks)
    for part in x.split(IMAGES):
        q = encode(part)
        weights = Weights(samples, ks, len(part))
        for first in range(0, samples, SAMPLES):
            shape = (min(SAMPLES, samples - first), *q.mean.shape)
            z, log_q = q.sample_and_log_prob(torch.randn(shape, generator=generator))
            weights.add(likelihood(z, part).double() + log_normal(z) - log_q)
        yield weights.result()
