"""Bounds by many samples, and the Pareto k of their weights, where the truth is known."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from elbo.bounds import importance_weighted
from elbo.determinism import stream
from elbo.estimates import importance
from elbo.estimates.importance import Weights, curve
from elbo.estimates.model import join
from elbo.estimates.psis import FEWEST, largest_trusted, pareto_k, tail_length
from tests.elbo.estimates.linear import linear

KS = [1, 10, 100, 1000]


def k_of(log_weights: torch.Tensor) -> torch.Tensor:
    return pareto_k(log_weights.topk(tail_length(len(log_weights)) + 1, 0).values)


def test_the_pareto_k_is_that_of_arviz() -> None:
    """The numbers are those of arviz-stats 0.8.0."""
    expected = {
        25: [0.6296675082, 0.502247284, 0.01584687, 1.994548197],
        200: [0.8608407853, 0.4952770705, -1.293810346, 4.0075174188],
        1000: [0.9298831739, 0.4966301752, -1.5635558703, 1.9727788634],
    }
    for samples, numbers in expected.items():
        place = torch.arange(samples, dtype=torch.float64)
        u = (place + 0.5) / samples
        sets = [-(-u).log1p(), -0.5 * (-u).log1p(), math.sqrt(2) * (1000 * place).sin(), 30 * u**3]
        assert k_of(torch.stack(sets, 1)).tolist() == pytest.approx(numbers, abs=1e-7)


@pytest.mark.parametrize("k", [0.1, 0.4, 0.7, 1.0])
def test_the_pareto_k_is_that_of_the_tail_of_the_weights(k: float) -> None:
    uniform = torch.rand(10_000, 200, generator=stream(0, "tail"), dtype=torch.float64)
    found = k_of(-k * uniform.log())  # weights u^-k
    assert found.mean().item() == pytest.approx(k, abs=0.06)


def test_weights_that_are_equal_or_overflow_have_a_pareto_k() -> None:
    assert k_of(torch.full((100, 3), -800.0).double()).tolist() == [0.0] * 3
    wild = torch.linspace(-5000, 5000, 100, dtype=torch.float64)[:, None]
    assert largest_trusted(100) < k_of(wild).item() < math.inf
    with pytest.raises(ValueError, match=f"take {FEWEST}"):
        k_of(torch.zeros(FEWEST - 1, 1).double())


def test_fewer_samples_need_a_lighter_tail_to_be_trusted() -> None:
    assert largest_trusted(100) == 0.5
    assert largest_trusted(1000) == pytest.approx(2 / 3)
    assert largest_trusted(10**5) == 0.7


def test_weights_in_pieces_have_the_bounds_of_all_together() -> None:
    log_weights = 3 * torch.randn(120, 7, generator=stream(0, "weights"), dtype=torch.float64)
    weights = Weights(120, [1, 4, 30, 120], 7)
    for piece in log_weights.split([1, 50, 7, 2, 60]):
        weights.add(piece)
    found = weights.result()
    for k, bound in zip([1, 4, 30, 120], found.bound, strict=True):
        torch.testing.assert_close(bound, importance_weighted(log_weights, k))
    torch.testing.assert_close(found.pareto_k, k_of(log_weights))
    with pytest.raises(ValueError, match=r"groups of \[7\]"):
        Weights(120, [7, 10], 1)


@pytest.mark.parametrize("latent", [1, 2, 5, 20])
def test_bounds_rise_to_the_closed_form_and_a_heavy_tail_shows_where_they_do_not(latent: int) -> None:
    model = linear(latent)
    _, x = model.sample(60)
    exact = model.log_likelihood(x)
    found = join(curve(model.encode, model.likelihood, x, KS, stream(0, "curve")))
    for looser, tighter in itertools.pairwise(found.bound):
        assert (looser <= tighter).all()
    error = (found.bound - exact).mean(1)
    assert error[0] < -0.05
    noise = (found.bound[-1] - exact).std().item() / math.sqrt(60)
    assert error[-1] < 3 * noise, "a lower bound"
    trusted = (found.pareto_k < largest_trusted(1000)).double().mean()
    if latent < 5:
        assert error[-1] > -0.01
        assert trusted > 0.9
    else:
        assert error[0] < error[1] < error[2] < error[3] < -0.01
        assert trusted < 0.7


def test_bounds_are_the_same_in_pieces_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    model = linear(5)
    _, x = model.sample(60)
    found = join(curve(model.encode, model.likelihood, x, KS, stream(0, "curve")))
    again = join(curve(model.encode, model.likelihood, x, KS, stream(0, "curve")))
    assert torch.equal(found.bound, again.bound)
    monkeypatch.setattr(importance, "SAMPLES", 400)
    larger = join(curve(model.encode, model.likelihood, x, KS, stream(0, "curve")))
    torch.testing.assert_close(found.bound, larger.bound, rtol=0, atol=1e-5)
