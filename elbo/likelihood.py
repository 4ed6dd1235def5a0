"""The exact log-likelihood of many images, and of some of them the gaps: how the pieces go together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from elbo import gaps
from elbo.bounds import log_likelihood, log_normal
from elbo.grid import Boxes, Grid, Window
from elbo.quadrature import integrate, refine, tabulate
from elbo.vae import VAE, Decoder

ROOM = (6.0, 0.15)  # what a window holds to each side of q: standard deviations, and besides
AHEAD = (6.0, 1.0)  # the same of a window that moves along with an ascent
MOVES = 25  # of a window at most
PARAMETERS = ("loc", "scale")
NARROW = 0.75  # spacings: a Gaussian with a smaller scale is treated on a finer grid
FINER, FINEST = 2, 3  # parts of a spacing, for the likelihood of the worst images and for narrow Gaussians
STUCK = 0.1  # nats by which a start at the mode must be better to call the encoder's start stuck
WORST = (0.05, 0.1)  # of the images, whose share of the whole gap is told
SHOWN = {"best": 0.0, "median": 0.5, "worst": 1.0}  # quantiles of the inference gap whose images are drawn
INSIDE = 0.9  # share of the importance samples that come from the quadrature's own posterior


@dataclass(frozen=True)
class Likelihood:
    """Of N images, and of M of them more; nats, float64.

    Attributes:
        log_likelihood: (N,) log p(x).
        refined: (R,) which images were integrated again on a finer grid, the worst among them, and
        change: (R,) by how much that changed log p(x), at most.
        subset: (M,) the images of the gaps.
        windows: of the subset.
        q: their Gaussians by the encoder.
        best: q*, by ascent from there.
        elbo_from_mode: (M,) the ELBO of the Gaussian that ascent from the posterior's mode finds.
    """

    log_likelihood: Tensor
    refined: Tensor
    change: Tensor
    subset: Tensor
    windows: list[Window]
    q: gaps.Gaussians
    best: gaps.Gaussians
    elbo_from_mode: Tensor

    @property
    def gaps(self) -> dict[str, Tensor]:
        """(M,) each; inference = approximation + amortization (Cremer, Li and Duvenaud 2018)."""
        exact = self.log_likelihood[self.subset]
        return {
            "inference": exact - self.q.elbo,
            "approximation": exact - self.best.elbo,
            "amortization": self.best.elbo - self.q.elbo,
            "approximation_of_better_start": exact - torch.maximum(self.best.elbo, self.elbo_from_mode),
        }

    def of(self, chosen: Tensor, elbo: Tensor) -> dict[str, float]:
        """Means over the images that `chosen` (N,) bool marks: log p(x), the inference gap, its parts."""
        own = chosen[self.subset]
        exact = self.log_likelihood[chosen]
        row = {
            "images": int(chosen.sum()),
            **mean("log_likelihood", exact),
            **mean("elbo", elbo[chosen]),
            **mean("inference_gap", exact - elbo[chosen]),
            "gap_images": int(own.sum()),
        }
        for name, gap in self.gaps.items():
            row |= mean(name, gap[own])
        return row

    def summary(self, elbo: Tensor) -> dict[str, object]:
        """What metrics files say of all N images, given their ELBO (N,)."""
        row = self.of(torch.ones(len(elbo), dtype=torch.bool), elbo)
        names = [name for gap in self.gaps for name in (gap, f"{gap}_se")]
        gaps_of = {name: row.pop(name) for name in names}
        stuck = (self.elbo_from_mode - self.best.elbo > STUCK).double().mean().item()
        gaps_of |= {"images": row.pop("gap_images"), "stuck_share": stuck}
        gaps_of |= ratio("amortization_share", self.gaps["amortization"], self.gaps["inference"])
        shape = concentration(self.log_likelihood - elbo)
        return row | {"quadrature_error": self.change.max().item(), "gaps": gaps_of, "gap_shape": shape}

    def shown(self) -> dict[str, np.ndarray]:
        """Windows and Gaussians of three images to draw, by quantile of the inference gap."""
        order = self.gaps["inference"].argsort()
        arrays: dict[str, np.ndarray] = {}
        for name, share in SHOWN.items():
            place = int(order[round(share * (len(order) - 1))])
            window = self.windows[place]
            pair = [self.q, self.best]
            parts = {
                "z1": window.z1,
                "z2": window.z2,
                "log_joint": window.log_joint,
                "loc": torch.stack([of.loc[place].double() for of in pair]),
                "scale": torch.stack([of.scale[place].double() for of in pair]),
                "elbo": torch.stack([of.elbo[place] for of in pair]),
                "image": self.subset[place],
            }
            arrays |= {f"{name}_{key}": value.numpy() for key, value in parts.items()}
        return arrays


def mean(name: str, values: Tensor) -> dict[str, float]:
    """The mean over images (N,), and its standard error as `<name>_se`."""
    error = values.std().item() / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return {name: values.mean().item() if len(values) else 0.0, f"{name}_se": error}


def ratio(name: str, part: Tensor, whole: Tensor) -> dict[str, float]:
    """The mean of `part` (N,) over that of `whole` (N,), and its standard error over images as `<name>_se`.

    By the delta method: to first order the ratio errs as the mean of (part − ratio · whole) / E[whole] does.
    """
    share = (part.mean() / whole.mean()).item() if whole.mean() else 0.0
    error = mean("of", part - share * whole)["of_se"] / abs(whole.mean().item()) if whole.mean() else 0.0
    return {name: share, f"{name}_se": error}


def concentration(gap: Tensor) -> dict[str, float]:
    """How unevenly images (N,) share the gap: its median, and the share of it that the worst carry."""
    falling, total = gap.sort(descending=True).values, gap.sum().item()
    shares = {
        f"share_of_worst_{round(100 * part)}_percent": falling[: max(1, round(part * len(gap)))].sum().item()
        for part in WORST
    }
    return {"median": gap.quantile(0.5).item()} | {
        name: (of / total if total else 0.0) for name, of in shares.items()
    }


@torch.no_grad()
def evaluate(model: VAE, x: Tensor, grid: Grid, subset: Tensor, worst: int) -> Likelihood:
    """log p(x) of images (N, pixels), and the gaps of those that `subset` (M,) numbers, rising.

    Args:
        worst: how many images to integrate again, those whose sums over every second node differ most.
    """
    decoder, few = model.decoder, x[subset]
    loc, log_scale = model.encoder(few)
    scale = log_scale.exp()
    integral = integrate(decoder, x, grid, boxes_around(subset, loc, scale))
    windows, extent = integral.windows, integral.extent[subset]
    q = gaps.Gaussians(loc, scale, gaps.elbo(windows, loc, scale), torch.zeros(len(subset), dtype=torch.bool))
    best = climb(decoder, few, extent, grid.nodes, windows, loc, scale)
    from_mode = climb(decoder, few, extent, grid.nodes, windows, gaps.modes(windows), scale)
    locs, scales = (torch.stack([getattr(g, of).double() for g in (q, best, from_mode)]) for of in PARAMETERS)
    narrow = (scales < NARROW * 2 * extent[:, None] / grid.nodes).any(2).any(0).nonzero()[:, 0]
    if len(narrow):
        own, place = few[narrow], torch.arange(len(narrow))
        boxes = boxes_around(place, locs[:, narrow], scales[:, narrow])
        finer = windows_of(decoder, own, extent[narrow], grid.nodes, boxes, FINEST)
        q.elbo[narrow] = gaps.elbo(finer, loc[narrow], scale[narrow])
        for found, start in ((best, q), (from_mode, from_mode)):
            starts = start.loc[narrow], start.scale[narrow]
            found.update(narrow, climb(decoder, own, extent[narrow], grid.nodes, finer, *starts, FINEST))
    worst_ones = integral.spread.topk(min(worst, len(x))).indices
    refined = torch.cat([worst_ones, subset[narrow]]).unique()
    exact = integral.log_likelihood.clone()
    for side in integral.extent[refined].unique().tolist():
        these = refined[integral.extent[refined] == side]
        exact[these] = refine(decoder, x[these], Grid(side, grid.nodes), FINER)
    change = (exact - integral.log_likelihood)[refined].abs()
    return Likelihood(exact, refined, change, subset, windows, q, best, from_mode.elbo)


def climb(
    decoder: Decoder,
    x: Tensor,
    extent: Tensor,
    nodes: int,
    windows: Sequence[Window],
    loc: Tensor,
    scale: Tensor,
    parts: int = 1,
) -> gaps.Gaussians:
    """The best Gaussians that ascent from given ones finds; where it meets a window's wall, the window moves.

    Args:
        x: (M, pixels), each image with the extent (M,) of its own grid, of so many nodes a side, its window,
            and the start, loc and scale (M, 2).
        parts: into which each spacing of the grid is split.
    """
    found = gaps.best(windows, loc, scale)
    at = found.blocked.nonzero()[:, 0]
    for _ in range(MOVES):
        if not len(at):
            break
        boxes = boxes_around(torch.arange(len(at)), found.loc[at], found.scale[at], AHEAD)
        moved = windows_of(decoder, x[at], extent[at], nodes, boxes, parts)
        further = gaps.best(moved, found.loc[at], found.scale[at])
        gained = further.elbo - found.elbo[at] > gaps.TOLERANCE
        found.update(at, further)
        at = at[further.blocked & gained]
    return found


def windows_of(
    decoder: Decoder, x: Tensor, extent: Tensor, nodes: int, boxes: Boxes, parts: int
) -> list[Window]:
    """Windows around a box for each image (M, pixels), on grids that differ in their extent (M,)."""
    found: dict[int, Window] = {}
    for side in extent.unique().tolist():
        own = extent == side
        windows = tabulate(decoder, x, Grid(side, nodes), boxes.only(own), parts)
        found |= zip(own.nonzero()[:, 0].tolist(), windows, strict=True)
    return [found[place] for place in range(len(extent))]


def boxes_around(index: Tensor, loc: Tensor, scale: Tensor, room: tuple[float, float] = ROOM) -> Boxes:
    """Around Gaussians (M, 2), or several of each image (K, M, 2)."""
    reach = room[0] * scale + room[1]
    low, high = loc - reach, loc + reach
    if low.dim() == 3:
        low, high = low.amin(0), high.amax(0)
    return Boxes(index, low, high)


@torch.no_grad()
def importance_sampling(
    model: VAE, x: Tensor, windows: Sequence[Window], samples: int, generator: torch.Generator
) -> Tensor:
    """(N,) log p(x) of images (N, pixels) by importance sampling: it shares no node with the quadrature.

    Most samples come from the quadrature's posterior, anywhere in a node's cell, the rest from the
    encoder's Gaussian at twice its scale, which may lie elsewhere. The estimate of p(x) is unbiased.
    """
    loc, log_scale = model.encoder(x)
    log_wide = log_scale + math.log(2)
    inside = round(INSIDE * samples)
    result = torch.empty(len(x), dtype=torch.float64)
    for i, window in enumerate(windows[: len(x)]):
        spacing = window.z1[1] - window.z1[0]
        weights = window.log_joint.double().flatten().softmax(0)
        nodes = torch.multinomial(weights, inside, replacement=True, generator=generator)
        rows, columns = nodes // len(window.z1), nodes % len(window.z1)
        cells = torch.stack([window.z1[columns], window.z2[rows]], 1)
        jitter = torch.rand(cells.shape, generator=generator, dtype=torch.float64) - 0.5
        noise = torch.randn(samples - inside, 2, generator=generator)
        z = torch.cat([(cells + spacing * jitter).float(), loc[i] + noise * log_wide[i].exp()])
        first = torch.stack([window.z1[0], window.z2[0]])
        place = ((z - first) / spacing).round().long()
        size = torch.tensor([len(window.z1), len(window.z2)])
        held = ((place >= 0) & (place < size)).all(1)
        node = (place[:, 1] * size[0] + place[:, 0]).clamp(0, len(weights) - 1)
        of_window = torch.where(held, weights[node] / spacing**2, 0.0)
        of_encoder = log_normal(z, loc[i], log_wide[i]).double().exp()
        share = inside / samples
        proposal = (share * of_window + (1 - share) * of_encoder).log()
        joint = log_likelihood(model.decoder(z), x[i].expand(samples, -1)).double() + log_normal(z)
        result[i] = (joint - proposal).logsumexp(0) - math.log(samples)
    return result
