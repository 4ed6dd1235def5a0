"""All estimators of a split together: which images they are about, and that they agree."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
import torch

from elbo.determinism import stream
from elbo.estimates.evaluate import COLUMNS, anneal, choice, evaluate
from tests.support.models import small_vae

T = TypeVar("T")
REFINED: Any = SimpleNamespace(steps=40, draws=4, lr=0.1, samples=100, prior_share=0.1)
ANNEALED: Any = SimpleNamespace(images=20, tuned=20, temperatures=15, leapfrog=3, chains=4, simulated=40)
SETTINGS: Any = SimpleNamespace(every=REFINED, images=30, curve=[100, 1, 10], refined=REFINED)


def track(items: Iterable[T], *, total: int) -> Iterable[T]:
    found = list(items)
    assert len(found) == total
    return found


def test_estimators_of_one_model_agree_on_the_images_they_share() -> None:
    model = small_vae((4, 4), (16, 8), stream(1, "init"), latent=3).requires_grad_(False)
    for parameter in model.decoder.parameters():
        parameter.mul_(2.0)
    x = torch.bernoulli(model.decode(torch.randn(120, 3, generator=stream(2, "z"))), generator=stream(2, "x"))
    labels, elbo = torch.arange(120) % 2, torch.full((120,), -20.0).double()
    found = evaluate(model, x, elbo, SETTINGS, 1, "test", track)
    assert torch.equal(found.subset, choice(120, 30, 1, "test"))
    torch.testing.assert_close(found.every[found.subset].mean(), found.bound.mean(), rtol=0, atol=0.05)
    torch.testing.assert_close(found.curve.bound[-1].mean(), found.bound.mean(), rtol=0, atol=0.1)
    summary = found.summary()
    assert summary["log_likelihood"] == max(row["bound"] for row in found.by_estimator()[4:])
    assert summary["inference_gap"] == pytest.approx(summary["log_likelihood"] + 20)
    assert [row["family"] for row in found.by_family()] == ["encoder", "best diagonal", "best full"]
    gaps = [row["gap"] for row in found.by_family()]
    assert gaps[0] > gaps[1] > 0
    assert all(tuple(row) == COLUMNS for row in found.by_estimator())
    assert [row["k"] for row in found.by_estimator()[1:4]] == [1, 10, 100]
    classes = [found.means(labels == label) for label in (0, 1)]
    assert sum(row["images"] for row in classes) == 30
    for row in classes:
        assert row["inference"] == pytest.approx(row["approximation"] + row["amortization"])
    annealed = anneal(model, x, x, ANNEALED, 1, "test", track)
    same = found.bound[torch.isin(found.subset, annealed.images)]
    assert len(same) == 20
    assert annealed.summary()["bound"] == pytest.approx(same.mean().item(), abs=0.1)
    assert abs(annealed.summary()["simulated"]["distance"]) < 0.1
