"""A grid of latents in the plane, and windows of it that keep log p(x, z) of single images."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

TILE = 12  # nodes per side
DEPTH = (
    30.0  # nats: a window holds all tiles whose best node in the first pass is so close to the image's best
)


@dataclass(frozen=True)
class Grid:
    """A square of latents, ±`extent` standard deviations of the prior, with `nodes` nodes per side.

    The sum over all nodes times spacing² is the trapezoidal rule, since no mass is left at the border.
    """

    extent: float
    nodes: int

    @property
    def spacing(self) -> float:
        return 2 * self.extent / self.nodes

    @property
    def tiles(self) -> int:
        """Tiles per side."""
        return self.nodes // TILE

    def line(self, first: int, last: int, parts: int = 1) -> Tensor:
        """Coordinates of the nodes first … last-1, each cell split evenly into `parts`; float64.

        A node's cell reaches half a spacing to either side, so split cells cover the same interval.
        """
        parted = torch.arange((last - first) * parts, dtype=torch.float64) - (parts - 1) / 2
        return -self.extent + self.spacing * (first + parted / parts)

    def tile(self, row: int, column: int, parts: int = 1) -> Tensor:
        """The latents ((TILE·parts)², 2) of a tile, float32; z1 changes faster."""
        z2, z1 = (self.line(tile * TILE, (tile + 1) * TILE, parts) for tile in (row, column))
        return torch.cartesian_prod(z2, z1).flip(1).float()


@dataclass(frozen=True)
class Window:
    """log p(x, z) of one image over a rectangle of the grid."""

    z1: Tensor  # (n1,) coordinates, float64
    z2: Tensor  # (n2,) coordinates, float64
    log_joint: Tensor  # (n2, n1) nats, float32

    @property
    def log_likelihood(self) -> float:
        """The log of the integral over the rectangle, nats."""
        spacing = (self.z1[1] - self.z1[0]).item()
        return self.log_joint.double().flatten().logsumexp(0).item() + 2 * math.log(spacing)


@dataclass(frozen=True)
class Boxes:
    """Rectangles that windows must hold beside the posterior, at most one per image."""

    index: Tensor  # (M,) the images, ascending
    low: Tensor  # (M, 2) latents
    high: Tensor  # (M, 2) latents

    def __getitem__(self, chosen: Tensor) -> "Boxes":
        """The boxes that `chosen` (M,) bool marks."""
        return Boxes(self.index[chosen], self.low[chosen], self.high[chosen])

    def of_images(self, images: Tensor) -> "Boxes":
        """The boxes of `images` (ascending); their index counts within `images`."""
        own = self[torch.isin(self.index, images)]
        return Boxes(torch.searchsorted(images, own.index), own.low, own.high)


class Tables:
    """Windows that are filled tile by tile.

    Args:
        images: N, the number of images; `boxes` may be of some of them.
        near: (M, tiles, tiles) bool, the tiles that a window must hold beside its box.
        parts: into which each spacing of the grid is split.
    """

    def __init__(self, boxes: Boxes, grid: Grid, images: int, near: Tensor, parts: int = 1) -> None:
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

    def mark(self, needed: Tensor) -> None:
        """Marks the tiles of the windows in `needed` (N, tiles, tiles)."""
        for image, (top, bottom, left, right) in zip(self.boxes.index, self.corners, strict=True):
            needed[image, top:bottom, left:right] = True

    def keep(self, row: int, column: int, index: Tensor, values: Tensor) -> None:
        """Stores a tile's values (n, side²) of the images `index` (n,) in the windows that hold the tile."""
        places, side = self.place[index], self.side
        for i in (places >= 0).nonzero()[:, 0].tolist():
            place = int(places[i])
            top, bottom, left, right = self.corners[place]
            if top <= row < bottom and left <= column < right:
                y, x = (row - top) * side, (column - left) * side
                self.tables[place][y : y + side, x : x + side] = values[i].view(side, side)

    def windows(self, offset: Tensor) -> list[Window]:
        """The windows, with `offset` (N,) added: x·b, which the stored values lack."""
        windows = []
        constants = offset[self.boxes.index].tolist()
        for corners, table, constant in zip(self.corners, self.tables, constants, strict=True):
            top, bottom, left, right = (TILE * corner for corner in corners)
            z1, z2 = self.grid.line(left, right, self.parts), self.grid.line(top, bottom, self.parts)
            windows.append(Window(z1, z2, table.add_(constant)))
        return windows
