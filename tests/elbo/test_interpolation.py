"""Lines between latents, and the projection of wide ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from elbo.analysis import interpolation, latents
from elbo.determinism import stream
from elbo.models.vae import from_prior, straight_lines


def test_lines_between_wide_latents_stay_as_far_from_the_origin_as_the_prior() -> None:
    starts, ends = (from_prior(200, 50, stream(0, end)) for end in ("starts", "ends"))
    curved, straight = interpolation.lines(starts, ends, 9), straight_lines(starts, ends, 9)
    assert torch.allclose(curved[:, 0], starts, atol=1e-5)
    assert torch.allclose(curved[:, -1], ends, atol=1e-5)
    middle = (starts.norm(dim=1) + ends.norm(dim=1)) / 2
    assert torch.allclose(curved[:, 4].norm(dim=1), middle, rtol=1e-4)
    assert straight[:, 4].norm(dim=1).mean() < 0.75 * middle.mean()
    directions = torch.nn.functional.normalize(curved, dim=2)
    angles = (directions[:, 1:] * directions[:, :-1]).sum(2).clamp(-1, 1).acos()
    assert torch.allclose(angles, angles.mean(1, keepdim=True).expand(-1, 8), atol=1e-3)


def test_lines_in_a_plane_are_straight_and_so_are_those_between_equal_or_opposite_directions() -> None:
    starts, ends = (from_prior(5, 2, stream(0, end)) for end in ("starts", "ends"))
    assert torch.equal(interpolation.lines(starts, ends, 7), straight_lines(starts, ends, 7))
    z = from_prior(5, 4, stream(0, "wide"))
    for factor in (1.0, 2.0, -1.0):
        assert torch.equal(interpolation.lines(z, factor * z, 5), straight_lines(z, factor * z, 5))


def test_the_projection_keeps_the_directions_of_largest_variance() -> None:
    rng = np.random.default_rng(0)
    scales = np.array([0.1, 3.0, 0.2, 1.0, 0.1])
    train, test = rng.normal(size=(5000, 5)) * scales, rng.normal(size=(20, 5)) * scales
    points, shares = latents.project(train, test).values()
    assert shares == pytest.approx(scales[[1, 3]] ** 2 / (scales**2).sum(), rel=0.05)
    assert np.allclose(np.abs(points), np.abs(test[:, [1, 3]]), atol=0.2)
    assert latents.project(np.zeros((10, 3)), np.zeros((2, 3)))["shares"].tolist() == [0, 0]


def test_the_lines_of_many_pairs_are_summed_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(a, b) for b in range(40) for a in range(b)]
    count, steps = len(pairs), 4
    sure = torch.arange(count * steps).view(count, steps) % 3 > 0
    labels = torch.tensor(pairs)[:, [0, 0, 1, 1]]
    moves = torch.ones(count, steps - 1)
    lines = interpolation.Lines(moves, moves.sum(1), labels, sure.float(), sure)
    expected = lines.transitions.tolist()
    calls: list[int] = []

    def counted(_: interpolation.Lines) -> list[int]:
        calls.append(1)
        return list(expected)

    monkeypatch.setattr(interpolation.Lines, "transitions", property(counted))
    rows = interpolation.by_pair([str(name) for name in range(40)], pairs, lines, lines)
    assert [row["transitions"] for row in rows] == expected
    assert [row["unsure"] for row in rows] == (~sure).double().mean(1).tolist()
    assert len(calls) == 1
