"""Annealed importance sampling from q(z|x) to the posterior, and its distance to an upper bound.

On the path q(z|x)^(1-t) p(x, z)^t, t rises from 0 to 1 while Hamiltonian Monte Carlo keeps each sample near
the density of its t; the weight p̂(x) is unbiased (Neal 2001). So its logarithm is a lower bound of log p(x)
on average, but only if the transitions do not depend on the samples they move: step sizes are tuned on other
images and then frozen.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from elbo.bounds import log_normal
from elbo.estimates.model import Encode, LogLikelihood

IMAGES = 100  # at once
ACCEPTED = 0.65  # share of the proposals, for which steps are tuned (Neal 2011)
FIRST_STEP, RATE = 0.3, 0.5  # in units of q's scale; of the change of log step
ROUNDS = 3  # of tuning; the last one is kept


class Settings(Protocol):
    """params.yaml documents each value."""

    @property
    def temperatures(self) -> int: ...
    @property
    def leapfrog(self) -> int: ...
    @property
    def chains(self) -> int: ...


@dataclass(frozen=True)
class Annealed:
    """Results for N images; float64, nats."""

    bound: Tensor  # (N,) log p̂(x), by the mean weight of the chains
    accepted: Tensor  # (N,) share of the proposals


class Path:
    """The densities between q and the posterior of N images, in units of q: z = mean + scale · u.

    q is the Gaussian with the encoder's mean and scale.
    """

    def __init__(self, encode: Encode, likelihood: LogLikelihood, x: Tensor) -> None:
        with torch.no_grad():
            q = encode(x)
        self.loc, self.scale = q.mean, q.scale
        self.log_volume = self.scale.log().sum(-1)
        self.likelihood, self.x = likelihood, x

    def joint(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """log p(x, z) + log |dz/du| of u (C, N, D), (C, N), and its gradient (C, N, D)."""
        u = u.detach().requires_grad_()
        z = self.loc + self.scale * u
        value = self.likelihood(z, self.x) + log_normal(z) + self.log_volume
        (gradient,) = torch.autograd.grad(value.sum(), u)
        return value.detach(), gradient


@dataclass
class State:
    """Samples of C chains for each of N images, with what the next transition needs."""

    u: Tensor  # (C, N, D)
    joint: Tensor  # (C, N)
    gradient: Tensor  # (C, N, D)

    @property
    def log_ratio(self) -> Tensor:
        """(C, N) log p(x, z) − log q(z), float64."""
        return self.joint.double() - log_normal(self.u).double()


def transition(
    path: Path, state: State, t: float, step: float, leapfrog: int, generator: torch.Generator
) -> Tensor:
    """One step of Hamiltonian Monte Carlo at t, in place; returns which proposals were accepted, (C, N)."""
    momentum = torch.randn(state.u.shape, generator=generator)
    start = _energy(state, momentum, t)
    u, gradient = state.u, state.gradient
    p = momentum
    for _ in range(leapfrog):
        p = p + 0.5 * step * (t * gradient - (1 - t) * u)
        u = u + step * p
        joint, gradient = path.joint(u)
        p = p + 0.5 * step * (t * gradient - (1 - t) * u)
    proposal = State(u, joint, gradient)
    threshold = torch.rand(start.shape, generator=generator).log()
    accepted = threshold < start - _energy(proposal, p, t)  # not a number: rejected
    state.u = torch.where(accepted[..., None], proposal.u, state.u)
    state.joint = torch.where(accepted, proposal.joint, state.joint)
    state.gradient = torch.where(accepted[..., None], proposal.gradient, state.gradient)
    return accepted


def _energy(state: State, momentum: Tensor, t: float) -> Tensor:
    density = t * state.joint - (1 - t) * 0.5 * state.u.square().sum(-1)
    return 0.5 * momentum.square().sum(-1) - density


def temperatures(count: int) -> list[float]:
    """t of count + 1 densities, from 0 to 1."""
    return [i / count for i in range(count + 1)]


def start(path: Path, chains: int, generator: torch.Generator) -> State:
    """Samples of q."""
    u = torch.randn(chains, *path.loc.shape, generator=generator)
    return State(u, *path.joint(u))


def tune(
    encode: Encode, likelihood: LogLikelihood, x: Tensor, settings: Settings, generator: torch.Generator
) -> list[float]:
    """The step of each temperature, in units of q's scale, at which `ACCEPTED` of the proposals are accepted.

    Args:
        x: (N, pixels) images that no result is about, such as training images; all at once.
    """
    path, ts = Path(encode, likelihood, x), temperatures(settings.temperatures)
    logs = [math.log(FIRST_STEP)] * settings.temperatures
    for round_number in range(ROUNDS):
        state = start(path, settings.chains, generator)
        for i in range(1, settings.temperatures):
            if round_number == 0:
                logs[i] = logs[i - 1]  # neighbours are alike
            moved = transition(path, state, ts[i], math.exp(logs[i]), settings.leapfrog, generator)
            logs[i] += RATE * (moved.double().mean().item() / ACCEPTED - 1)
    return [math.exp(value) for value in logs]


def _anneal(
    path: Path,
    state: State,
    steps: Sequence[float],
    settings: Settings,
    generator: torch.Generator,
    *,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """Log-weights (C, N) of the way from t = 0 up, or from t = 1 down, and the accepted share (N,)."""
    ts = temperatures(settings.temperatures)
    weights = torch.zeros(state.joint.shape, dtype=torch.float64)
    accepted = torch.zeros(len(path.x), dtype=torch.float64)
    order = range(settings.temperatures)
    for i in reversed(order) if reverse else order:
        if reverse:
            weights += (ts[i + 1] - ts[i]) * state.log_ratio
        if i:
            moved = transition(path, state, ts[i], steps[i], settings.leapfrog, generator)
            accepted += moved.double().mean(0)
        if not reverse:
            weights += (ts[i + 1] - ts[i]) * state.log_ratio
    return weights, accepted / max(1, settings.temperatures - 1)


def lower(
    encode: Encode,
    likelihood: LogLikelihood,
    x: Tensor,
    steps: Sequence[float],
    settings: Settings,
    generator: torch.Generator,
) -> Iterator[Annealed]:
    """A lower bound of log p(x) of images (N, pixels), batch by batch, with the `steps` of `tune`."""
    for part in x.split(IMAGES):
        path = Path(encode, likelihood, part)
        state = start(path, settings.chains, generator)
        weights, accepted = _anneal(path, state, steps, settings, generator)
        yield Annealed(weights.logsumexp(0) - math.log(settings.chains), accepted)


def upper(
    encode: Encode,
    likelihood: LogLikelihood,
    x: Tensor,
    z: Tensor,
    steps: Sequence[float],
    settings: Settings,
    generator: torch.Generator,
) -> Iterator[Annealed]:
    """An upper bound of log p(x) of images (N, pixels), given an exact posterior sample z (N, D) of each.

    The same way in reverse: its weights are unbiased for 1 / p(x). Exact samples are known of simulated
    images, whose z is drawn before x. There, the distance of both bounds bounds the sampler's error from
    above (bidirectional Monte Carlo: Grosse, Ghahramani and Adams 2015); of other images it says nothing.
    """
    for part, exact in zip(x.split(IMAGES), z.split(IMAGES), strict=True):
        path = Path(encode, likelihood, part)
        u = ((exact - path.loc) / path.scale).repeat(settings.chains, 1, 1)
        state = State(u, *path.joint(u))
        weights, accepted = _anneal(path, state, steps, settings, generator, reverse=True)
        yield Annealed(math.log(settings.chains) - (-weights).logsumexp(0), accepted)
