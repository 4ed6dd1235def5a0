"""A grid of latents in the plane, and windows of it in which log p(x, z) of single images is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

TILE = 12  # nodes a side
DEPTH = 30.0  # nats: a window holds all tiles whose best node of the first pass is so close to the image's


@dataclass(frozen=True)
class Grid:
    """A square of latents, ±`extent` standard deviations of the prior, with `nodes` nodes a side.

    The sum over all nodes times spacing² is the trapezoidal rule, since nothing is left at the border.
    """

    extent: float
    nodes: int

    @property
    def spacing(self) -> float:
        return 2 * self.extent / self.nodes

    @property
    def tiles(self) -> int:
        """Tiles a side."""
        return self.nodes // TILE

    def line(self, first: int, last: int, parts: int = 1) -> Tensor:
        """Coordinates of the nodes first … last-1, each cell split evenly into `parts`; float64.

        A node's cell reaches half a spacing to either side, so that split cells fit to whole ones.
        """
        parted = torch.arange((last - first) * parts, dtype=torch.float64) - (parts - 1) / 2
        return -self.extent + self.spacing * (first + parted / parts)

    def tile(self, row: int, column: int, parts: int = 1) -> Tensor:
        """The latents ((TILE·parts)², 2) of a tile, float32; z1 runs faster."""
        z2, z1 = (self.line(at * TILE, (at + 1) * TILE, parts) for at in (row, column))
        return torch.cartesian_prod(z2, z1).flip(1).float()


@dataclass(frozen=True)
class Window:
    """log p(x, z) of one image over a rectangle of the grid.

    Attributes:
        z1: (n1,) and
        z2: (n2,) coordinates, float64.
        log_joint: (n2, n1) nats, float32.
    """

    z1: Tensor
    z2: Tensor
    log_joint: Tensor

    @property
    def log_likelihood(self) -> float:
        """log of the integral over the rectangle."""
        spacing = (self.z1[1] - self.z1[0]).item()
        return self.log_joint.double().flatten().logsumexp(0).item() + 2 * math.log(spacing)


@dataclass(frozen=True)
class Boxes:
    """What windows must hold, beside the posterior: each a rectangle of one image.

    Attributes:
        index: (M,) the images, rising.
        low: (M, 2) and
        high: (M, 2) latents.
    """

    index: Tensor
    low: Tensor
    high: Tensor

    def places(self, images: Tensor) -> list[int]:
        """Which boxes are those of some images."""
        return torch.isin(self.index, images).nonzero()[:, 0].tolist()

    def only(self, chosen: Tensor) -> Boxes:
        """Those that `chosen` (M,) bool marks."""
        return Boxes(self.index[chosen], self.low[chosen], self.high[chosen])

    def among(self, images: Tensor) -> Boxes:
        """The boxes of some images (rising), which are numbered anew."""
        kept = torch.isin(self.index, images)
        return Boxes(torch.searchsorted(images, self.index[kept]), self.low[kept], self.high[kept])


class Tables:
    """Windows being filled, tile by tile."""

    def __init__(self, boxes: Boxes, grid: Grid, images: int, near: Tensor, parts: int = 1) -> None:
        """
        Args:
            images: N, of which the boxes number some.
            near: (M, tiles, tiles) bool, the tiles that a window must hold beside its box.
            parts: into which each spacing of the grid is split.
        """
        self.boxes, self.grid, self.parts = boxes, grid, parts
        low, high = (
            ((value.double() + grid.extent) / grid.spacing / TILE).floor().long().clamp(0, grid.tiles - 1)
            for value in (boxes.low, boxes.high)
        )
        edges = []
        for axis, lines in ((1, near.any(2)), (0, near.any(1))):
            first = torch.where(lines.any(1), lines.int().argmax(1), grid.tiles)
            last = torch.where(lines.any(1), grid.tiles - 1 - lines.flip(1).int().argmax(1), -1)
            edges += [torch.minimum(first, low[:, axis]), torch.maximum(last, high[:, axis]) + 1]
        self.corners: list[list[int]] = torch.stack(edges, 1).tolist()  # top, bottom, left, right
        self.side = TILE * parts
        self.tables = [
            torch.empty((bottom - top) * self.side, (right - left) * self.side)
            for top, bottom, left, right in self.corners
        ]
        self.place = torch.full((images,), -1)
        self.place[boxes.index] = torch.arange(len(boxes.index))

    def ask(self, needed: Tensor) -> None:
        """Marks in (N, tiles, tiles) the tiles of the windows."""
        for image, (top, bottom, left, right) in zip(self.boxes.index, self.corners, strict=True):
            needed[image, top:bottom, left:right] = True

    def keep(self, row: int, column: int, index: Tensor, values: Tensor) -> None:
        """Takes a tile's values (n, side²) of the images `index` (n,), where their windows hold it."""
        places = self.place[index]
        side = self.side
        for at in (places >= 0).nonzero()[:, 0].tolist():
            place = int(places[at])
            top, bottom, left, right = self.corners[place]
            if top <= row < bottom and left <= column < right:
                y, x = (row - top) * side, (column - left) * side
                self.tables[place][y : y + side, x : x + side] = values[at].view(side, side)

    def windows(self, offset: Tensor) -> list[Window]:
        """The windows; `offset` (N,) is what was left out of the values, x·b."""

        def line(first: int, last: int) -> Tensor:
            return self.grid.line(first * TILE, last * TILE, self.parts)

        return [
            Window(line(left, right), line(top, bottom), table.add_(constant))
            for (top, bottom, left, right), table, constant in zip(
                self.corners, self.tables, offset[self.boxes.index].tolist(), strict=True
            )
        ]
