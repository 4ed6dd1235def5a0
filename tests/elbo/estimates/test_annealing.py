"""Annealed importance sampling between its bounds, where the truth is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch

from elbo.determinism import stream
from elbo.estimates.annealing import FIRST_STEP, Path, lower, start, transition, tune, upper
from elbo.estimates.model import join
from tests.elbo.estimates.linear import linear


@dataclass(frozen=True)
class Settings:
    temperatures: int = 20
    leapfrog: int = 3
    chains: int = 4


@pytest.mark.parametrize("latent", [1, 2, 5, 20])
def test_both_bounds_enclose_the_closed_form_closely(latent: int) -> None:
    model, settings = linear(latent), Settings()
    z, x = model.sample(80)
    steps = tune(model.encode, model.likelihood, x[40:], settings, stream(0, "tune"))
    z, x = z[:40], x[:40]
    below = join(lower(model.encode, model.likelihood, x, steps, settings, stream(0, "below")))
    above = join(upper(model.encode, model.likelihood, x, z, steps, settings, stream(0, "above")))
    exact = model.log_likelihood(x)
    for error in (below.bound - exact, exact - above.bound):
        noise = 3 * error.std().item() / math.sqrt(len(x)) + 0.002
        assert -0.06 * latent - noise < error.mean() < noise
    for found in (below, above):
        assert found.accepted.mean().item() == pytest.approx(0.68, abs=0.08)


def test_the_weight_is_unbiased_with_any_frozen_steps() -> None:
    model, settings = linear(2, shift=1.0, stretch=0.7), Settings(temperatures=4, leapfrog=2, chains=1)
    _, x = model.sample(1)
    exact, many = model.log_likelihood(x), x.expand(3000, -1)
    for step in (0.3, 1.2):
        found = join(lower(model.encode, model.likelihood, many, [step] * 4, settings, stream(0, "below")))
        ratio = (found.bound - exact).exp()
        assert abs(ratio.mean() - 1) < 4 * ratio.std() / math.sqrt(len(ratio))
        assert found.bound.mean() < exact


def test_more_temperatures_bring_the_bounds_together() -> None:
    model = linear(5, shift=1.0)
    z, x = model.sample(50)
    distances = []
    for count in (4, 30):
        settings = Settings(temperatures=count)
        steps = tune(model.encode, model.likelihood, x, settings, stream(0, "tune"))
        below = join(lower(model.encode, model.likelihood, x, steps, settings, stream(0, "below")))
        above = join(upper(model.encode, model.likelihood, x, z, steps, settings, stream(0, "above")))
        distances.append((above.bound - below.bound).mean().item())
    assert 0 < distances[1] < 0.3 * distances[0]


def test_transitions_keep_the_posterior() -> None:
    model = linear(2)
    _, x = model.sample(1)
    many = x.expand(4000, -1)
    path, noise = Path(model.encode, model.likelihood, many), stream(0, "transition")
    state = start(path, 1, noise)
    for _ in range(30):
        transition(path, state, 1.0, 0.8, 4, noise)
    z = (path.loc + path.scale * state.u)[0].double()
    posterior = model.posterior(x)
    torch.testing.assert_close(z.mean(0), posterior.loc[0], rtol=0, atol=0.03)
    covariance = posterior.covariance_matrix.view(2, 2)
    torch.testing.assert_close(z.T.cov(), covariance, rtol=0.1, atol=0.01)


def test_steps_are_tuned_from_the_first_one_and_the_same_each_time() -> None:
    model, settings = linear(2, stretch=0.1), Settings()
    _, x = model.sample(50)
    steps, again = (tune(model.encode, model.likelihood, x, settings, stream(0, "tune")) for _ in range(2))
    assert steps == again
    assert len(steps) == settings.temperatures
    assert steps[-1] > 5 * FIRST_STEP, "the posterior is ten times as wide as this q"
