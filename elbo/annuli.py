"""The notebook's problem 2: a disc of positive points inside a ring of negative ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def sample(
    points: int, positive: Sequence[float], negative: Sequence[float], seed: int
) -> tuple[Tensor, Tensor]:
    """Draws half of the points from each annulus, radius and angle uniform, in the notebook's order.

    The positives are drawn first, and stand last. (Uniform radii crowd the middle; so does the notebook.)

    Args:
        points: how many in all, even.
        positive, negative: inner and outer radius.
        seed: of torch's generator itself, as in the notebook, and not of a named stream.

    Returns:
        points (N, 2) and labels (N,), 1 for positive.
    """
    generator = torch.Generator().manual_seed(seed)
    half = points // 2
    inside = _annulus(half, positive, generator)
    outside = _annulus(half, negative, generator)
    labels = torch.cat([torch.zeros(half), torch.ones(half)])
    return torch.cat([outside, inside]), labels.long()


def _annulus(count: int, radii: Sequence[float], generator: torch.Generator) -> Tensor:
    inner, outer = radii
    radius = inner + torch.rand(count, generator=generator) * (outer - inner)
    angle = torch.rand(count, generator=generator) * (2 * math.pi)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
