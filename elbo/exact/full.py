"""The best Gaussian with a full covariance of each image, by the windows of the grid.

Natural-gradient ascent as in elbo.exact.gaps. The axes of such a Gaussian need not be those of the plane, so
its weights at the nodes are a table, and no product of two lines of weights.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from elbo.exact import gaps
from elbo.exact.gaps import STEPS, TOLERANCE, Stack
from elbo.exact.grid import Window
from elbo.models.posteriors import FullNormal

ENTRIES = 400_000  # of the windows processed at once: the tables of a step stay in the cache
FAR = 1e4  # where nodes that only pad a window stand: finite, so that no difference of two of them is NaN
LOWEST = -80.0  # of a log weight: exp is ten times as slow where its result is denormal
LONGEST = 2.0  # standard deviations that the mean moves in one step at most
FACTOR = 4.0  # by which a step changes a variance at most


@dataclass(frozen=True)
class FullGaussians(gaps.Gaussians):
    """Gaussians N(loc, lower lowerᵀ) of N images and their ELBOs; `scale` is that of each coordinate."""

    lower: Tensor  # (N, 2, 2) lower triangular, positive on the diagonal

    @classmethod
    def at(cls, loc: Tensor, lower: Tensor) -> "FullGaussians":
        """Gaussians whose ELBO is not known yet: −inf."""
        elbo = torch.full((len(loc),), -math.inf, dtype=torch.float64)
        loc, lower = loc.double().clone(), lower.double().clone()
        return cls(loc, scale_of(lower), elbo, torch.zeros(len(loc), dtype=torch.bool), lower)

    @property
    def factor(self) -> Tensor:
        """(N, 2, 2) what multiplies standard normal noise."""
        return self.lower

    @property
    def posterior(self) -> FullNormal:
        """The same as an encoder gives it, float32."""
        log_scale = self.lower.diagonal(dim1=1, dim2=2).log()
        return FullNormal(self.loc.float(), log_scale.float(), self.lower[:, 1, :1].float())


class Plane:
    """The windows of a stack, for Gaussians whose axes are any."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        padded = stack.z2.isinf()[:, :, None] | stack.z1.isinf()[:, None]
        self.top = stack.log_joint.masked_fill(padded, -math.inf).amax((1, 2))
        self.log_joint = (
            stack.log_joint - self.top[:, None, None]
        )  # small where the mass is: exact in float32
        self.z1, self.z2 = (line.masked_fill(line.isinf(), FAR) for line in (stack.z1, stack.z2))

    def of(self, index: Tensor) -> "Plane":
        """The windows of some of the images."""
        part = object.__new__(Plane)
        part.stack = self.stack.of(index)
        for name in ("top", "log_joint", "z1", "z2"):
            setattr(part, name, getattr(self, name)[index])
        return part

    def moments(self, loc: Tensor, lower: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The ELBO (B,) of Gaussians, E[u log p(x, z)] (B, 2) and E[(u uᵀ − I) log p(x, z)] (B, 2, 2).

        u = lower⁻¹ (z − loc), with loc (B, 2) and lower (B, 2, 2). Expectations and entropy are those of the
        weights at the nodes, so by Jensen's inequality no ELBO exceeds the log of the sum over these nodes.
        """
        a, b, c = lower[:, 0, 0, None], lower[:, 1, 0, None], lower[:, 1, 1, None]
        u1 = (self.z1 - loc[:, :1]) / a
        first, along, across = (u1.float(), (u1 * b / c).float(), ((self.z2 - loc[:, 1:]) / c).float())
        u2 = across[:, :, None] - along[:, None]
        log_weights = torch.addcmul(-0.5 * first.square()[:, None], u2, u2, value=-0.5)
        log_weights -= log_weights.amax((1, 2), keepdim=True)
        weights = log_weights.clamp_(min=LOWEST).exp()
        total = weights.sum((1, 2), dtype=torch.float64)
        entropy = total.log() - _dot(weights, log_weights) / total
        value = weights.mul_(self.log_joint)
        columns = torch.stack([value.sum(1), (turned := value * u2).sum(1)], 2).double()
        sums = torch.stack([columns[:, :, 0], columns[:, :, 0] * u1, columns[:, :, 0] * u1.square()], 1).sum(
            2
        )
        mean, first_1, second_1 = (sums / total[:, None]).unbind(1)
        first_2, mixed = columns[:, :, 1].sum(1) / total, (columns[:, :, 1] * u1).sum(1) / total
        second_2 = _dot(turned, u2) / total
        curved = torch.stack([second_1 - mean, mixed, mixed, second_2 - mean], 1).view(-1, 2, 2)
        elbo = mean + self.top + entropy + 2 * self.stack.log_spacing
        return elbo, torch.stack([first_1, first_2], 1), curved


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """(B,) Σ a b of tables (B, m, n), float64."""
    return torch.bmm(a.flatten(1)[:, None], b.flatten(1)[:, :, None])[:, 0, 0].double()


def best(windows: Sequence[Window], loc: Tensor, lower: Tensor) -> FullGaussians:
    """The best Gaussian of each image that ascent from a given one finds; loc (N, 2), lower (N, 2, 2).

    Natural-gradient steps (Khan and Lin 2017), each image with its own step size, halved until the ELBO does
    not fall and the Gaussian lies in the window. Gradients are Bonnet's and Price's: with
    u = lower⁻¹ (z − loc), E[(u uᵀ − I) log p(x, z)] is the expected curvature in the coordinates u, whose
    negative becomes the precision.
    """
    found = FullGaussians.at(loc, lower)
    for index, stack in gaps.stacks(windows, ENTRIES):
        found.update(index, _ascend(Plane(stack), found.loc[index], found.lower[index]))
    return found


def scale_of(lower: Tensor) -> Tensor:
    """(N, 2) marginal standard deviations of Gaussians with covariance lower lowerᵀ, (N, 2, 2)."""
    return lower.square().sum(2).sqrt()


def narrowest(lower: Tensor) -> Tensor:
    """(N,) the standard deviation along the shorter axis of Gaussians with covariance lower lowerᵀ."""
    middle, half = _eigenvalues(lower @ lower.mT)
    # by the determinant: the difference of two near equal numbers would lose its digits
    return lower.diagonal(dim1=1, dim2=2).prod(1) / (middle + half).sqrt()


def _ascend(plane: Plane, loc: Tensor, lower: Tensor) -> FullGaussians:
    count = len(loc)
    current, linear, curved = plane.moments(loc, lower)
    blocked = torch.zeros(count, dtype=torch.bool)
    found = FullGaussians(loc.clone(), scale_of(lower), current.clone(), blocked, lower.clone())
    places, rate = torch.arange(count), torch.ones_like(current)
    moving = ~blocked
    for step in range(STEPS + 1):
        if step == STEPS or 2 * moving.sum() <= len(places):  # the others are done
            # small steps approach a window's edge slowly; only a full step shows that it is in the way
            full_loc, full_lower = _step(loc, lower, linear, curved, torch.ones_like(rate))
            blocked = ~plane.stack.hold(full_loc, scale_of(full_lower))
            found.update(places, FullGaussians(loc, scale_of(lower), current, blocked, lower))
            if step == STEPS or not moving.any():
                break
            kept = moving.nonzero()[:, 0]
            plane, places, rate, moving = plane.of(kept), places[kept], rate[kept], moving[kept]
            loc, lower, linear, curved, current = (v[kept] for v in (loc, lower, linear, curved, current))
        new_loc, new_lower = _step(loc, lower, linear, curved, rate)
        value, new_linear, new_curved = plane.moments(new_loc, new_lower)
        better = moving & (value >= current) & plane.stack.hold(new_loc, scale_of(new_lower))
        gained = torch.where(better, value - current, 0.0)
        old = (loc, lower, linear, curved, current)
        for kept, new in zip(old, (new_loc, new_lower, new_linear, new_curved, value), strict=True):
            kept[better] = new[better]
        rate = torch.where(better, (1.5 * rate).clamp(max=1.0), rate / 2)
        moving &= (gained > TOLERANCE) | (~better & (rate > 1e-3))
    return found


def _step(loc: Tensor, lower: Tensor, linear: Tensor, curved: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
    """A natural-gradient step of Gaussians of size `rate` (B,): the mean and the lower factor.

    In the coordinates u the old precision is the identity, and the new one (1 − rate) I + rate (−curved).
    The eigenvalues of −curved are kept within a factor of `FACTOR`.
    """
    middle, half = _eigenvalues(-curved)
    high, low = ((1 - rate) + rate * e.clamp(1 / FACTOR, FACTOR) for e in (middle + half, middle - half))
    # a function of a symmetric matrix of two rows is linear in the matrix; the inverse of the precision:
    slope = torch.where(half > 0, (1 / high - 1 / low) / (2 * half), 0.0)
    eye = torch.eye(2, dtype=loc.dtype)
    shift = (1 / high + 1 / low) / 2 - slope * middle
    covariance = shift[:, None, None] * eye - slope[:, None, None] * curved
    move = rate[:, None] * (covariance @ linear[:, :, None])[:, :, 0]
    move *= (LONGEST / move.norm(dim=1, keepdim=True)).clamp(max=1.0)
    return loc + (lower @ move[:, :, None])[:, :, 0], lower @ _cholesky(covariance)


def _eigenvalues(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The middle of the two eigenvalues of symmetric matrices (B, 2, 2), and half their distance: (B,)."""
    a, b, c = matrix[:, 0, 0], matrix[:, 0, 1], matrix[:, 1, 1]
    return (a + c) / 2, torch.hypot((a - c) / 2, b)


def _cholesky(matrix: Tensor) -> Tensor:
    """The lower factors of positive definite matrices (B, 2, 2), without LAPACK, whose bits may differ."""
    a = matrix[:, 0, 0].sqrt()
    b = matrix[:, 1, 0] / a
    c = (matrix[:, 1, 1] - b.square()).sqrt()
    return torch.stack([a, torch.zeros_like(a), b, c], 1).view(-1, 2, 2)
