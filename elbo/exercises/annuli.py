"""The notebook's problem 2: a disc of positive points inside a ring of negative ones."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def sample(
    points: int, positive: Sequence[float], negative: Sequence[float], seed: int
) -> tuple[Tensor, Tensor]:
    """Points (N, 2), half of them from each annulus, and their labels (N,), 1 for positive.

    Radius and angle are uniform, as in the notebook, so points are denser near the centre. The positive
    points are drawn first and stand last.

    Args:
        points: N, even.
        positive, negative: inner and outer radius.
        seed: of torch's generator itself, as in the notebook, not of a named stream.
    """
    generator = torch.Generator().manual_seed(seed)
    half = points // 2
    rings = []
    for inner, outer in (positive, negative):
        radius = inner + torch.rand(half, generator=generator) * (outer - inner)
        angle = torch.rand(half, generator=generator) * (2 * math.pi)
        rings.append(torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1))
    return torch.cat(rings[::-1]), torch.arange(2).repeat_interleave(half)
