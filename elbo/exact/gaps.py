"""The inference gap of a variational posterior and its two parts, by quadrature.

log p(x) − ELBO(q) = [log p(x) − ELBO(q*)] + [ELBO(q*) − ELBO(q)], the approximation gap of the best diagonal
Gaussian q* and the amortization gap of the encoder's q (Cremer, Li and Duvenaud 2018). All expectations are
sums over a window of the grid in which an image's log p(x, z) is tabulated, so nothing is decoded or sampled.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from elbo.exact.grid import Window

STEPS = 100  # at most
TOLERANCE = 1e-6  # nats: an image is done when a step gains less
ENTRIES = 3_000_000  # of the windows processed at once: 12 MB
REACH = 4.0  # standard deviations of a Gaussian to each side that its window must hold


@dataclass(frozen=True)
class Gaussians:
    """Diagonal Gaussians of N images and their ELBOs."""

    loc: Tensor  # (N, 2)
    scale: Tensor  # (N, 2)
    elbo: Tensor  # (N,) nats, float64
    blocked: Tensor  # (N,) whether ascent ended because the next Gaussian would have left its window

    @property
    def factor(self) -> Tensor:
        """(N, 2) what multiplies standard normal noise."""
        return self.scale

    def update(self, index: Tensor, other: "Gaussians") -> None:
        """Replaces the Gaussians of the images `index` (M,) by `other`."""
        for name, values in vars(other).items():
            getattr(self, name)[index] = values

    def __getitem__(self, index: Tensor) -> "Gaussians":
        """The Gaussians of some of the images."""
        return replace(self, **{name: values[index] for name, values in vars(self).items()})

    def better(self, other: "Gaussians") -> "Gaussians":
        """Of each image the Gaussian with the larger ELBO."""
        found, index = self[torch.arange(len(self.elbo))], (other.elbo > self.elbo).nonzero()[:, 0]
        found.update(index, other[index])
        return found


class Stack:
    """Windows of several images in one tensor, padded with nodes that no Gaussian reaches."""

    def __init__(self, windows: Sequence[Window]) -> None:
        rows, columns = (max(size) for size in zip(*(w.log_joint.shape for w in windows), strict=True))
        self.log_joint = torch.zeros(len(windows), rows, columns)
        self.z1 = torch.full((len(windows), columns), math.inf, dtype=torch.float64)
        self.z2 = torch.full((len(windows), rows), math.inf, dtype=torch.float64)
        for place, window in enumerate(windows):
            n2, n1 = window.log_joint.shape
            self.log_joint[place, :n2, :n1] = window.log_joint
            self.z1[place, :n1], self.z2[place, :n2] = window.z1, window.z2
        self.log_spacing = (self.z1[:, 1] - self.z1[:, 0]).log()

    def of(self, index: Tensor) -> "Stack":
        """The windows of some of the images."""
        part = object.__new__(Stack)
        for name, values in vars(self).items():
            setattr(part, name, values[index])
        return part

    def moments(self, loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The ELBO (B,) of Gaussians (B, 2), and E[u log p(x, z)] and E[(u² − 1) log p(x, z)], (B, 2).

        u = (z − loc) / scale. Expectations and entropy are those of the weights at the nodes, so by Jensen's
        inequality no ELBO exceeds the log of the sum over the same nodes.
        """
        sides, entropy = [], 2 * self.log_spacing
        for line, axis in ((self.z1, 0), (self.z2, 1)):
            u = (line - loc[:, axis, None]) / scale[:, axis, None]
            weights = (-0.5 * u.square()).softmax(1)
            entropy = entropy + torch.special.entr(weights).sum(1)
            u = torch.where(line.isinf(), 0.0, u)
            sides.append(torch.stack([weights, weights * u, weights * (u.square() - 1)], 2))
        inner = torch.bmm(self.log_joint, sides[0].float()).double()
        table = torch.bmm(sides[1].transpose(1, 2), inner)
        linear, curved = (torch.stack([table[:, 0, i], table[:, i, 0]], 1) for i in (1, 2))
        return table[:, 0, 0] + entropy, linear, curved

    def hold(self, loc: Tensor, scale: Tensor) -> Tensor:
        """(B,) whether Gaussians (B, 2) lie in their windows, up to `REACH` standard deviations."""
        inside = torch.ones(len(loc), dtype=torch.bool)
        for line, axis in ((self.z1, 0), (self.z2, 1)):
            reach = REACH * scale[:, axis]
            last = line.masked_fill(line.isinf(), -math.inf).amax(1)
            inside &= (line[:, 0] <= loc[:, axis] - reach) & (last >= loc[:, axis] + reach)
        return inside


def elbo(windows: Sequence[Window], loc: Tensor, scale: Tensor) -> Tensor:
    """(N,) the ELBO of Gaussians (N, 2) of N images, by their windows; nats, float64."""
    result = torch.empty(len(windows), dtype=torch.float64)
    for index, stack in stacks(windows):
        result[index] = stack.moments(loc[index].double(), scale[index].double())[0]
    return result


def best(windows: Sequence[Window], loc: Tensor, scale: Tensor) -> Gaussians:
    """q*: the best diagonal Gaussian of each image that ascent from a given one (N, 2) finds.

    Natural-gradient steps (Khan and Lin 2017), each image with its own step size, halved until the ELBO does
    not fall and the Gaussian lies in the window. Gradients are Bonnet's and Price's: with
    u = (z − loc) / scale, E[u log p(x, z)] / scale is the mean's, and E[(u² − 1) log p(x, z)] / scale² the
    expected curvature, whose negative becomes the precision.
    """
    loc, scale = loc.double().clone(), scale.double().clone()
    elbos = torch.empty(len(windows), dtype=torch.float64)
    found = Gaussians(loc, scale, elbos, torch.zeros(len(windows), dtype=torch.bool))
    for index, stack in stacks(windows):
        found.update(index, _ascend(stack, loc[index], scale[index]))
    return found


def _ascend(stack: Stack, loc: Tensor, scale: Tensor) -> Gaussians:
    current, linear, curved = stack.moments(loc, scale)
    rate = torch.ones_like(current)
    for _ in range(STEPS):
        new_loc, new_scale = _step(loc, scale, linear, curved, rate[:, None])
        value, new_linear, new_curved = stack.moments(new_loc, new_scale)
        better = (value >= current) & stack.hold(new_loc, new_scale)
        gained = torch.where(better, value - current, 0.0)
        old = (loc, scale, linear, curved, current)
        for kept, new in zip(old, (new_loc, new_scale, new_linear, new_curved, value), strict=True):
            kept[better] = new[better]
        rate = torch.where(better, (1.5 * rate).clamp(max=1.0), rate / 2)
        if not ((gained > TOLERANCE) | (~better & (rate > 1e-3))).any():
            break
    # small steps approach a window's edge slowly; only a full step shows that it is in the way
    blocked = ~stack.hold(*_step(loc, scale, linear, curved, torch.ones_like(rate[:, None])))
    return Gaussians(loc, scale, current, blocked)


def _step(loc: Tensor, scale: Tensor, linear: Tensor, curved: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
    """A natural-gradient step of Gaussians (B, 2) of size `rate` (B, 1), at most two standard deviations."""
    precision = scale**-2
    target = torch.maximum(-curved * precision, precision / 4).minimum(precision * 4)
    new_precision = precision.lerp(target, rate)
    move = rate * linear / scale / new_precision
    return loc + move.clamp(-2 * scale, 2 * scale), new_precision**-0.5


def modes(windows: Sequence[Window]) -> Tensor:
    """(N, 2) the node of each window with the largest log p(x, z)."""
    places = [divmod(int(w.log_joint.argmax()), w.log_joint.shape[1]) for w in windows]
    pairs = [[w.z1[column], w.z2[row]] for w, (row, column) in zip(windows, places, strict=True)]
    return torch.tensor(pairs, dtype=torch.float64)


def stacks(windows: Sequence[Window], entries: int = ENTRIES) -> Iterator[tuple[Tensor, Stack]]:
    """Windows of similar size in stacks of at most `entries`, each with the indices of its windows."""
    groups: list[list[int]] = []
    rows = columns = 0
    for i in sorted(range(len(windows)), key=lambda i: windows[i].log_joint.numel()):
        n2, n1 = windows[i].log_joint.shape
        if groups and (len(groups[-1]) + 1) * max(rows, n2) * max(columns, n1) <= entries:
            groups[-1].append(i)
            rows, columns = max(rows, n2), max(columns, n1)
        else:
            groups.append([i])
            rows, columns = n2, n1
    for group in groups:
        yield torch.tensor(group), Stack([windows[i] for i in group])
