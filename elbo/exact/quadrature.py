"""The exact log-likelihood of a VAE whose latent is a plane: an integral over a grid, streamed by tiles.

log p(x) = log ∫ p(x|z) N(z; 0, I) dz. With the decoder's logits l(z) = W h(z) + b of Bernoulli pixels,
log p(x|z) = x·l(z) − Σ softplus(l(z)) = (x W)·h(z) + x·b − Σ softplus(l(z)), so all images share one decoded
grid and one matrix product. A first pass over few nodes finds the tiles that hold an image's mass; the second
visits those at all nodes. Sums are float64.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from elbo.bounds import log_normal
from elbo.exact.grid import DEPTH, TILE, Boxes, Grid, Tables, Window
from elbo.models.layers import product
from elbo.models.networks import Decoder

STRIDE = 4  # nodes between those of the first pass
MARGIN = 60.0  # nats below an image's best node of the first pass at which its tiles are left out
BORDER = 1e-4  # share of an image's mass in the outermost tiles above which its grid is widened
TOGETHER = 4  # tiles decoded in one product: their logits stay in the cache
BLOCK = 25_000  # images at once: their first pass takes 250 MB


@dataclass(frozen=True)
class Integral:
    """Results for N images; nats, float64."""

    log_likelihood: Tensor  # (N,) log p(x)
    spread: Tensor  # (N,) its largest distance to the four sums over every second node
    border: Tensor  # (N,) share of the posterior's mass in the outermost tiles
    extent: Tensor  # (N,) of the grid that was used
    windows: list[Window] = field(default_factory=list)  # one for each requested box


PER_IMAGE = ("log_likelihood", "spread", "border", "extent")


class Projection:
    """N images as the integrand needs them: features (N, H) and offset (N,) (`Decoder.project`)."""

    def __init__(self, decoder: Decoder, x: Tensor) -> None:
        self.features, self.offset = decoder.project(x)


@torch.no_grad()
def integrate(decoder: Decoder, x: Tensor, grid: Grid, boxes: Boxes | None = None) -> Integral:
    """The log-likelihood of images (N, pixels) of 0.0 and 1.0.

    An image whose posterior reaches the border is integrated again over a square twice as wide, with the
    same number of nodes (so far out the posteriors are wide; `spread` shows it).

    Args:
        boxes: images whose log p(x, z) is kept, each in a window that holds its box and its posterior.
    """
    if len(x) > BLOCK and boxes is None:
        parts = [integrate(decoder, block, grid) for block in x.split(BLOCK)]
        exact, spread, border, extent = (torch.cat([getattr(p, name) for p in parts]) for name in PER_IMAGE)
        return Integral(exact, spread, border, extent)
    result = _integrate_on(grid, decoder, x, boxes)
    wide = (result.border > BORDER).nonzero()[:, 0]
    if not len(wide):
        return result
    moved = boxes.of_images(wide) if boxes else None
    wider = integrate(decoder, x[wide], Grid(2 * grid.extent, grid.nodes), moved)
    for name in PER_IMAGE:
        getattr(result, name)[wide] = getattr(wider, name)
    if boxes:
        places = torch.isin(boxes.index, wide).nonzero()[:, 0].tolist()
        for place, window in zip(places, wider.windows, strict=True):
            result.windows[place] = window
    return result


def _integrate_on(grid: Grid, decoder: Decoder, x: Tensor, boxes: Boxes | None) -> Integral:
    images = Projection(decoder, x)
    tops = _first_pass(decoder, images, grid)
    best = tops.amax((1, 2))
    needed = tops >= (best - MARGIN)[:, None, None]
    tables = None
    if boxes:
        near = tops[boxes.index] >= (best[boxes.index] - DEPTH)[:, None, None]
        tables = Tables(boxes, grid, len(x), near)
        tables.mark(needed)
    del tops
    sums = torch.zeros(len(x), 2, 2, dtype=torch.float64)
    border = torch.zeros(len(x), dtype=torch.float64)
    half, edges = TILE // 2, (0, grid.tiles - 1)
    for row, column, index, values in _sweep(decoder, images, grid, needed):
        if tables:
            tables.keep(row, column, index, values)
        quarter = values.sub_(best[index, None]).exp_().view(-1, half, 2, half, 2)
        part = quarter.sum((1, 3), dtype=torch.float64)
        sums.index_add_(0, index, part)
        if row in edges or column in edges:
            border.index_add_(0, index, part.sum((1, 2)))
    total = sums.sum((1, 2))
    spread = (4 * sums / total[:, None, None]).log().abs().amax((1, 2))
    log_likelihood = total.log() + 2 * math.log(grid.spacing) + best.double() + images.offset
    windows = tables.windows(images.offset) if tables else []
    extent = torch.full_like(total, grid.extent)
    return Integral(log_likelihood, spread, border / total, extent, windows)


@torch.no_grad()
def tabulate(decoder: Decoder, x: Tensor, grid: Grid, boxes: Boxes, parts: int) -> list[Window]:
    """log p(x, z) of images in windows around their boxes, each spacing of the grid split into `parts`."""
    images = Projection(decoder, x)
    none = torch.zeros(len(boxes.index), grid.tiles, grid.tiles, dtype=torch.bool)
    tables = Tables(boxes, grid, len(x), none, parts)
    needed = torch.zeros(len(x), grid.tiles, grid.tiles, dtype=torch.bool)
    tables.mark(needed)
    for row, column, index, values in _sweep(decoder, images, grid, needed, parts):
        tables.keep(row, column, index, values)
    return tables.windows(images.offset)


@torch.no_grad()
def refine(decoder: Decoder, x: Tensor, grid: Grid, parts: int) -> Tensor:
    """(N,) log p(x) of a few images, each spacing split into `parts` in the tiles that hold their mass.

    A tile with less than a thousandth of the mass is summed at the grid's own nodes.
    """
    images = Projection(decoder, x)
    tops = _first_pass(decoder, images, grid)
    best = tops.amax((1, 2))
    masses = torch.zeros(tops.shape, dtype=torch.float64)
    for row, column, index, values in _sweep(decoder, images, grid, tops >= (best - MARGIN)[:, None, None]):
        masses[index, row, column] = values.sub_(best[index, None]).exp_().sum(1, dtype=torch.float64)
    held = masses > 1e-3 * masses.sum((1, 2), keepdim=True)
    total = masses.masked_fill(held, 0.0).sum((1, 2))
    for _, _, index, values in _sweep(decoder, images, grid, held, parts):
        sums = values.sub_(best[index, None]).exp_().sum(1, dtype=torch.float64)
        total.index_add_(0, index, sums / parts**2)
    return total.log() + 2 * math.log(grid.spacing) + best.double() + images.offset


def _sweep(
    decoder: Decoder, images: Projection, grid: Grid, needed: Tensor, parts: int = 1
) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    """Visits each tile that `needed` (N, tiles, tiles) marks for any image.

    Yields:
        row, column, the images (n,) that need the tile, and their log p(x, z) − x·b at its nodes, z1 changing
        faster: (n, (TILE·parts)²).
    """
    needed = needed.permute(1, 2, 0).contiguous()
    used = needed.any(2)
    for row in range(grid.tiles):
        columns = used[row].nonzero()[:, 0].tolist()
        for first in range(0, len(columns), TOGETHER):
            some = columns[first : first + TOGETHER]
            hidden, base = _decode(decoder, torch.cat([grid.tile(row, column, parts) for column in some]))
            tiles = zip(some, hidden.chunk(len(some)), base.chunk(len(some)), strict=True)
            for column, tile_hidden, tile_base in tiles:
                index = needed[row, column].nonzero()[:, 0]
                yield row, column, index, product(images.features[index], tile_hidden).add_(tile_base)


def _first_pass(decoder: Decoder, images: Projection, grid: Grid) -> Tensor:
    """(N, tiles, tiles) the largest log p(x, z) − x·b at a few nodes of each tile, rows by z2."""
    count, few = grid.tiles, TILE // STRIDE
    tops = torch.empty(len(images.offset), count, count)
    z1 = grid.line(0, grid.nodes)[::STRIDE]
    for row in range(count):
        z2 = grid.line(row * TILE, (row + 1) * TILE)[::STRIDE]
        hidden, base = _decode(decoder, torch.cartesian_prod(z2, z1).flip(1).float())
        for index in torch.arange(len(tops)).split(4000):
            values = product(images.features[index], hidden).add_(base)
            tops[index, row] = values.view(-1, few, count, few).amax((1, 3))
    return tops


def _decode(decoder: Decoder, z: Tensor) -> tuple[Tensor, Tensor]:
    """From latents (M, 2) to h(z), (M, hidden), and log N(z) − Σ softplus(l(z)), (M,)."""
    hidden = decoder.hidden(z)
    return hidden, log_normal(z) - F.softplus(decoder.output(hidden)).sum(1)
