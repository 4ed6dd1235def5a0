"""The ELBO of any posterior by the windows of the grid, and the best one of its family for each image.

Of a family without closed forms, such as a flow, the tensors that the encoder computes for an image are
optimized; the layers that all images share stay as they are (Cremer, Li and Duvenaud 2018).
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from elbo.exact import gaps
from elbo.exact.gaps import Stack
from elbo.exact.grid import Window
from elbo.models.posteriors import DiagonalNormal, Posterior

ROWS = 100_000  # latents whose density is computed at once
REACH = 8.0  # standard deviations to each side of a posterior's mean that hold it
LOST = 0.001  # share of q's mass that its window may lack
ORDER = 10  # of the Gauss-Hermite rule for each dimension of the noise
STEPS, LR = 150, 0.05  # of Adam; the rate falls to zero


@torch.no_grad()
def elbo(windows: Sequence[Window], q: Posterior) -> tuple[Tensor, Tensor]:
    """(N,) the ELBO of posteriors of N images by their windows, nats, and whether their windows hold them.

    The weights of the nodes are the densities of q over their sum, so by Jensen's inequality no ELBO exceeds
    the log of the sum over these nodes. A window does not hold a q whose densities do not add up to 1 there:
    it is too small or, for a q with narrow parts, too coarse. (Of diagonal Gaussians the scale tells it.)
    """
    if isinstance(q, DiagonalNormal):
        return gaps.elbo(windows, q.loc, q.scale), torch.ones(len(windows), dtype=torch.bool)
    bound = torch.empty(len(windows), dtype=torch.float64)
    log_mass = torch.empty_like(bound)
    within = [_crop(window, *pair) for window, *pair in zip(windows, q.mean, REACH * q.scale, strict=True)]
    for index, stack in gaps.stacks(within, ROWS):
        log_q = _log_density(stack, q[index])
        log_mass[index] = log_q.logsumexp((1, 2)) + 2 * stack.log_spacing
        weights = log_q.flatten(1).softmax(1)
        value = weights * stack.log_joint.flatten(1) + torch.special.entr(weights)
        bound[index] = value.sum(1) + 2 * stack.log_spacing
    return bound, log_mass.abs() < LOST


def _crop(window: Window, loc: Tensor, reach: Tensor) -> Window:
    """The part of a window within `reach` (2,) of `loc` (2,), which is not empty."""
    sides = []
    for line, middle, length in zip((window.z1, window.z2), loc, reach, strict=True):
        first, last = (int(torch.searchsorted(line, end)) for end in (middle - length, middle + length))
        first = min(first, len(line) - 2)
        sides.append(slice(first, max(last, first + 2)))
    columns, rows = sides
    return Window(window.z1[columns], window.z2[rows], window.log_joint[rows, columns])


def log_density(window: Window, q: Posterior) -> Tensor:
    """(n2, n1) log q(z|x) of one image, float64."""
    return _log_density(Stack([window]), q)[0]


def _log_density(stack: Stack, q: Posterior) -> Tensor:
    """(B, n2, n1) log q(z|x) at the nodes of the windows of B images, float64; −inf where they are padded."""
    outside = stack.z2.isinf()[:, :, None] | stack.z1.isinf()[:, None]
    z1, z2 = (line.masked_fill(line.isinf(), 0.0).float() for line in (stack.z1, stack.z2))
    size = outside.shape
    z = torch.stack([z1[:, None].expand(size), z2[:, :, None].expand(size)], 3).flatten(1, 2)
    density = q.log_prob(z.transpose(0, 1).contiguous()).T.unflatten(1, size[1:]).double()
    return density.masked_fill(outside, -math.inf)


def noise() -> tuple[Tensor, Tensor]:
    """Nodes (ORDER², 2) and weights (ORDER²,) whose sum is an expectation over standard normal noise."""
    # rounded, since the last digits of eigenvalues differ between processors
    nodes, weights = (torch.from_numpy(a.round(10)) for a in np.polynomial.hermite_e.hermegauss(ORDER))
    weights = torch.cartesian_prod(weights, weights).prod(1)
    return torch.cartesian_prod(nodes, nodes).float(), (weights / weights.sum()).float()


def estimate(stack: Stack, q: Posterior) -> Tensor:
    """(B,) the ELBO of posteriors of B images, by a Gauss-Hermite rule; differentiable in their tensors."""
    nodes, weights = noise()
    z, log_q = q.sample_and_log_prob(nodes[:, None].expand(-1, len(stack.log_joint), -1))
    return weights @ (interpolate(stack, z) - log_q)


def interpolate(stack: Stack, z: Tensor) -> Tensor:
    """(S, B) log p(x, z) of latents (S, B, 2) of B images, by cubic convolution of the nodes (Keys 1981).

    Outside its window an image has the value at the border, less half the squared distance.
    """
    start, last, columns = [], [], stack.log_joint.shape[2]
    for line in (stack.z1, stack.z2):
        start.append(line[:, 0])
        last.append((~line.isinf()).sum(1) - 2)
    spacing = (stack.z1[:, 1] - stack.z1[:, 0]).float()
    place = (z - torch.stack(start, 1).float()) / spacing[:, None]
    inside = torch.minimum(place.clamp(min=1.0), torch.stack(last, 1).float())
    base = torch.minimum(inside.detach().floor().long(), torch.stack(last, 1) - 1)
    t = (inside - base).unsqueeze(-1)
    powers = torch.cat([torch.ones_like(t), t, t.square(), t**3], -1)
    first, second = (powers @ CUBIC).unbind(2)  # (S, B, 4) each
    steps = torch.arange(-1, 3)
    nodes = (base[..., 1, None, None] + steps[:, None]) * columns + base[..., 0, None, None] + steps
    flat = stack.log_joint.flatten(1)
    near = flat.gather(1, nodes.transpose(0, 1).flatten(1)).view(len(flat), len(z), 4, 4).transpose(0, 1)
    value = torch.einsum("sbij,sbi,sbj->sb", near, second, first)
    return value - 0.5 * ((place - inside) * spacing[:, None]).square().sum(-1)


CUBIC = torch.tensor(
    [[0.0, 1.0, 0.0, 0.0], [-0.5, 0.0, 0.5, 0.0], [1.0, -2.5, 2.0, -0.5], [-0.5, 1.5, -1.5, 0.5]]
)


def match(q: Posterior, loc: Tensor, scale: Tensor) -> Posterior:
    """Posteriors with about these means and standard deviations (N, 2), by their `loc` and `log_scale`."""
    for _ in range(3):
        moved = q.parameters["loc"] + (loc - q.mean).float()
        log_scale = q.parameters["log_scale"] + (scale / q.scale).log().float()
        q = q.replace(loc=moved, log_scale=log_scale)
    return q


def best(
    windows: Sequence[Window], q: Posterior, bound: Tensor, near: gaps.Gaussians
) -> tuple[Posterior, Tensor]:
    """The best posteriors of the family of q that ascent finds, and their ELBOs (N,).

    Adam by the gradient of `estimate`, for each image from the better of q, whose ELBO is `bound` (N,), and
    the member of the family with about the mean and the scale of `near`; the best of these three is found.
    """
    matched = match(q, near.loc, near.scale)
    climbed = {name: torch.empty_like(value) for name, value in q.parameters.items()}
    for index, stack in gaps.stacks(windows):
        with torch.no_grad():
            better = estimate(stack, matched[index]) > estimate(stack, q[index])
        start = _choose(better, matched[index], q[index])
        for name, value in _ascend(stack, start).parameters.items():
            climbed[name][index] = value
    for other in (matched, q.replace(**climbed)):
        value, held = elbo(windows, other)
        value = torch.where(held, value, -math.inf)  # what its window does not hold was not measured
        q, bound = _choose(value > bound, other, q), torch.fmax(value, bound)
    return q, bound


def _choose(chosen: Tensor, one: Posterior, other: Posterior) -> Posterior:
    """Of each image that `chosen` (N,) marks `one`, and `other` of the rest."""
    pairs = zip(one.parameters.items(), other.parameters.values(), strict=True)
    return one.replace(**{name: torch.where(chosen[:, None], a, b) for (name, a), b in pairs})


@torch.enable_grad()
def _ascend(stack: Stack, q: Posterior) -> Posterior:
    # steps are in standard deviations of z, and in units of the other tensors
    unit = {name: q.scale if name == "loc" else torch.ones(()) for name in q.parameters}
    moves = {name: torch.zeros_like(value, requires_grad=True) for name, value in q.parameters.items()}
    optimizer = torch.optim.Adam(moves.values(), lr=LR)
    origin = q.parameters

    def moved() -> Posterior:
        return q.replace(**{name: value + unit[name] * moves[name] for name, value in origin.items()})

    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = LR * (1 - step / STEPS)
        optimizer.zero_grad()
        (-estimate(stack, moved()).sum()).backward()
        optimizer.step()
    return moved().detach()
