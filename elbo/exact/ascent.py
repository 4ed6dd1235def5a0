"""Where the best Gaussians of images are found: windows of the grid that move with them, or are finer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from elbo.exact import full, gaps
from elbo.exact.grid import Boxes, Grid, Window
from elbo.exact.quadrature import tabulate
from elbo.models.networks import Decoder

ROOM = (6.0, 0.15)  # what a window holds to each side of q: standard deviations, plus a length
AHEAD = (6.0, 1.0)  # the same for a window that moves with an ascent
MOVES = 25  # of a window at most
NARROW = 0.75  # spacings: a Gaussian with a smaller scale is treated on a finer grid
FINEST = 3  # parts of a spacing for narrow Gaussians


@dataclass(frozen=True)
class Images:
    """M images, whose grids differ in extent: where their Gaussians are found."""

    decoder: Decoder
    x: Tensor  # (M, pixels)
    extent: Tensor  # (M,)
    nodes: int  # per side of each grid
    parts: int = 1  # into which each spacing is split

    def __getitem__(self, index: Tensor) -> "Images":
        return replace(self, x=self.x[index], extent=self.extent[index])

    @property
    def finer(self) -> "Images":
        return replace(self, parts=FINEST)

    @property
    def narrow(self) -> Tensor:
        """(M,) the scale below which a Gaussian is narrow for its grid."""
        return NARROW * 2 * self.extent / self.nodes

    def windows(self, boxes: Boxes) -> list[Window]:
        """A window around each image's box."""
        result: dict[int, Window] = {}
        for extent in self.extent.unique().tolist():
            own = self.extent == extent
            windows = tabulate(self.decoder, self.x, Grid(extent, self.nodes), boxes[own], self.parts)
            result |= zip(own.nonzero()[:, 0].tolist(), windows, strict=True)
        return [result[place] for place in range(len(self.extent))]

    def ascend(self, windows: Sequence[Window], loc: Tensor, factor: Tensor) -> gaps.Gaussians:
        """The best Gaussians that ascent from given ones finds; a window moves if it is too small.

        Args:
            loc: (M, 2).
            factor: the scales (M, 2) of diagonal Gaussians, or the lower factors (M, 2, 2) of full ones.
        """
        best = gaps.best if factor.dim() == 2 else full.best
        found = best(windows, loc, factor)
        left = found.blocked.nonzero()[:, 0]
        for _ in range(MOVES):
            if not len(left):
                break
            boxes = boxes_around(torch.arange(len(left)), found.loc[left], found.scale[left], AHEAD)
            further = best(self[left].windows(boxes), found.loc[left], found.factor[left])
            gained = further.elbo - found.elbo[left] > gaps.TOLERANCE
            found.update(left, further)
            left = left[further.blocked & gained]
        return found

    def ascend_full(
        self, windows: Sequence[Window], fine: Mapping[int, Window], loc: Tensor, lower: Tensor
    ) -> full.FullGaussians:
        """The best full Gaussians that ascent finds from given ones, (M, 2) and (M, 2, 2).

        Those that are found narrow along any direction are found again on a finer grid.

        Args:
            fine: windows of the finer grid by image, of those whose Gaussians are narrow from the start.
        """
        wide = torch.tensor([i for i in range(len(loc)) if i not in fine], dtype=torch.long)
        coarse = self[wide].ascend([windows[i] for i in wide.tolist()], loc[wide], lower[wide])
        narrow = (full.narrowest(coarse.factor) < self.narrow[wide]).nonzero()[:, 0]
        new = wide[narrow]
        locs = torch.stack([loc[new], coarse.loc[narrow]])
        scales = torch.stack([full.scale_of(lower[new]), coarse.scale[narrow]])
        added = self[new].finer.windows(boxes_around(torch.arange(len(new)), locs, scales))
        fine = {**fine, **dict(zip(new.tolist(), added, strict=True))}
        finer = torch.tensor(sorted(fine), dtype=torch.long)
        found = full.FullGaussians.at(loc, lower)
        found.update(wide, coarse)
        exact = self[finer].finer.ascend([fine[i] for i in finer.tolist()], loc[finer], lower[finer])
        found.update(finer, exact)
        return found


def boxes_around(index: Tensor, loc: Tensor, scale: Tensor, room: tuple[float, float] = ROOM) -> Boxes:
    """Boxes around Gaussians (M, 2), or around several of each image (K, M, 2)."""
    reach = room[0] * scale + room[1]
    low, high = loc - reach, loc + reach
    if low.dim() == 3:
        low, high = low.amin(0), high.amax(0)
    return Boxes(index, low, high)
