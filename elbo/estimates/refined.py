"""Importance sampling with posteriors refined for each image, and the ELBOs of the best ones of each family.

The encoder's q(z|x) is one network's guess for all images. Gradient ascent on the image's own ELBO finds a
better diagonal Gaussian, from there one with full covariance, and from q itself a better one of q's family if
that is another. What the ELBO gains is the amortization gap, what is still missing the family's approximation
gap (Cremer, Li and Duvenaud 2018).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from elbo.bounds import log_normal
from elbo.estimates.importance import Weights
from elbo.estimates.model import Encode, LogLikelihood
from elbo.models.posteriors import DiagonalNormal, FullNormal, Posterior

IMAGES, SAMPLES = 100, 48  # at once: see elbo/estimates/importance.py
SEARCHED = 4000  # draws from the prior, shared by all images
FAMILIES = ("encoder", "best diagonal", "best full")  # the rows of `Refined`
Q = TypeVar("Q", bound=Posterior)


class Settings(Protocol):
    """Of ascent and weighing; params.yaml documents each value."""

    @property
    def steps(self) -> int: ...
    @property
    def draws(self) -> int: ...
    @property
    def lr(self) -> float: ...
    @property
    def samples(self) -> int: ...
    @property
    def prior_share(self) -> float: ...


@dataclass(frozen=True)
class Refined:
    """Results for N images and F posteriors: `FAMILIES`, and one more if q is no Gaussian; nats, float64."""

    elbo: Tensor  # (F, N) by the samples from the posterior
    bound: Tensor  # (F, N) log p̂(x); p̂(x) is unbiased, so its logarithm is a lower bound on average
    pareto_k: Tensor  # (F, N) of the weights


def ascend(
    start: Q, likelihood: LogLikelihood, x: Tensor, settings: Settings, generator: torch.Generator
) -> Q:
    """The posterior of the same family that ascent on each image's ELBO finds, N images at once.

    Adam on the tensors of `start`, by reparametrized samples; its step falls to zero as a half cosine. For a
    Gaussian the gradient is that along the path of the samples alone, which vanishes with the gap (Roeder, Wu
    and Duvenaud 2017). Lengths are in units of the first scale, so that one step size suits all images.
    """
    first = start.detach().parameters
    scale = first["log_scale"].exp()
    row = torch.tril_indices(scale.shape[1], scale.shape[1], -1)[0]
    units = {"loc": scale, "below": scale[:, row]}
    moved = {name: torch.zeros_like(value, requires_grad=True) for name, value in first.items()}
    optimizer = torch.optim.Adam(moved.values(), lr=settings.lr)

    def current() -> Q:
        return start.replace(**{name: first[name] + units.get(name, 1.0) * moved[name] for name in first})

    for step in range(settings.steps):
        share = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
        optimizer.param_groups[0]["lr"] = settings.lr * share
        optimizer.zero_grad()
        q = current()
        z, log_q = q.sample_and_log_prob(torch.randn(settings.draws, *scale.shape, generator=generator))
        if q.kl() is not None:  # a Gaussian, whose density at any point is cheap
            log_q = q.detach().log_prob(z)
        elbo = likelihood(z, x) + log_normal(z) - log_q
        (-elbo.mean(0).sum()).backward()
        optimizer.step()
    return current().detach()


@torch.no_grad()
def first_loc(q: Posterior, likelihood: LogLikelihood, x: Tensor, generator: torch.Generator) -> Tensor:
    """(N, D) q's mean, or the draw from the prior with the highest log p(x, z), if that is higher.

    In a plane, an encoder puts some images into a wrong part, from where ascent does not find out.
    """
    z = torch.randn(SEARCHED, 1, q.mean.shape[1], generator=generator)
    best = (likelihood(z, x) + log_normal(z)).max(0)
    own = (likelihood(q.mean[None], x) + log_normal(q.mean))[0]
    return torch.where((best.values > own)[:, None], z[best.indices, 0], q.mean)


@torch.no_grad()
def weigh(
    q: Posterior, likelihood: LogLikelihood, x: Tensor, settings: Settings, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """The ELBO, log p̂(x) and the Pareto k, (N,) each, of N images with the posterior q as proposal.

    A fixed share of the samples comes from the prior and not from q, and each is weighed by the density of
    the mixture. So p̂(x) is unbiased, and no weight exceeds p(x|z) / share (Hesterberg, Weighted Average
    Importance Sampling and Defensive Mixture Distributions, 1995; Owen and Zhou 2000).
    """
    from_prior = max(1, round(settings.prior_share * settings.samples))
    share = from_prior / settings.samples
    weights = Weights(settings.samples, [settings.samples], len(x))
    elbo = torch.zeros(len(x), dtype=torch.float64)
    for first in range(0, settings.samples, SAMPLES):
        noise = torch.randn(min(SAMPLES, settings.samples - first), *q.mean.shape, generator=generator)
        prior = max(0, min(len(noise), from_prior - first))  # of these samples, the first ones
        z = torch.cat([noise[:prior], q.sample(noise[prior:])])
        joint = likelihood(z, x).double() + log_normal(z)
        log_q = q.log_prob(z).double()
        elbo += (joint - log_q)[prior:].sum(0)
        log_prior = log_normal(z).double()
        weights.add(joint - torch.logaddexp(log_q + math.log1p(-share), log_prior + math.log(share)))
    found = weights.result()
    return elbo / (settings.samples - from_prior), found.bound[0], found.pareto_k


def refine(
    encode: Encode,
    likelihood: LogLikelihood,
    x: Tensor,
    settings: Settings,
    generator: torch.Generator,
    *,
    diagonal_only: bool = False,
) -> Iterator[Refined]:
    """Refines and weighs the posteriors of images (N, pixels), batch by batch.

    Args:
        diagonal_only: the best diagonal Gaussian alone (F = 1), which is a third of the work.
    """
    for part in x.split(IMAGES):
        with torch.no_grad():
            q = encode(part)
        loc, log_scale = first_loc(q, likelihood, part, generator), q.scale.log()
        diagonal = ascend(DiagonalNormal(loc, log_scale), likelihood, part, settings, generator)
        if diagonal_only:
            yield _stack([weigh(diagonal, likelihood, part, settings, generator)])
            continue
        below = torch.zeros(len(part), FullNormal.heads(loc.shape[1])["below"])
        full = FullNormal(diagonal.loc, diagonal.log_scale, below)
        found: list[Posterior] = [q, diagonal, ascend(full, likelihood, part, settings, generator)]
        if not isinstance(q, DiagonalNormal):
            found.append(ascend(q, likelihood, part, settings, generator))
        first, second, third, *own = (weigh(item, likelihood, part, settings, generator) for item in found)
        # a family's best may be one of a smaller family, or the encoder's q
        best_diagonal = _best(second, *[first] * isinstance(q, DiagonalNormal))
        gaussians = [first, *own] * isinstance(q, DiagonalNormal | FullNormal)
        rows = [first, best_diagonal, _best(third, best_diagonal, *gaussians)]
        if own and not gaussians:
            rows.append(_best(first, *own))
        yield _stack(rows)


Weighed = tuple[Tensor, Tensor, Tensor]  # ELBO, bound and Pareto k, (N,) each


def _best(*found: Weighed) -> Weighed:
    """Of each image, what belongs to the highest ELBO."""
    chosen = torch.stack([elbo for elbo, _, _ in found]).argmax(0, keepdim=True)
    elbo, bound, pareto_k = (torch.stack(rows).gather(0, chosen)[0] for rows in zip(*found, strict=True))
    return elbo, bound, pareto_k


def _stack(found: Sequence[Weighed]) -> Refined:
    return Refined(*(torch.stack(rows) for rows in zip(*found, strict=True)))
