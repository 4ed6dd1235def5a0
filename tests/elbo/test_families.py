import copy
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import MultivariateNormal

from elbo.bounds import log_likelihood, log_normal
from elbo.determinism import stream
from elbo.exact import families, full, gaps, likelihood
from elbo.exact.grid import Grid, Window
from elbo.exact.likelihood import Likelihood, evaluate, importance_sampling
from elbo.models.vae import VAE, Design
from tests.support.models import small_vae

GRID = Grid(6.0, 120)
START = torch.zeros(1, 2).double(), torch.full((1, 2), 0.3).double()


def window(log_joint: Callable[[torch.Tensor], torch.Tensor], half: float = 3.0, nodes: int = 150) -> Window:
    """The values of a function of latents (n, 2) at the midpoints of a square's cells."""
    line = half * (2 * (torch.arange(nodes).double() + 0.5) / nodes - 1)
    z = torch.cartesian_prod(line, line).flip(1)
    return Window(line, line, log_joint(z).view(nodes, nodes).float())


def rotated(angle: float, long: float, short: float) -> torch.Tensor:
    """A covariance with these standard deviations along axes turned by `angle`."""
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return (turn @ torch.diag(torch.tensor([long, short]) ** 2) @ turn.T).double()


def bent(z: torch.Tensor) -> torch.Tensor:
    """A posterior like a banana beside a small second mode, times exp(−200)."""
    banana = -0.5 * ((z[:, 0] / 0.6) ** 2 + ((z[:, 1] - 0.7 * z[:, 0] ** 2 + 0.8 * z[:, 0]) / 0.2) ** 2)
    return torch.logaddexp(banana, -0.5 * ((z - 1.5) / 0.15).square().sum(1) - 1) - 200


@pytest.mark.parametrize(
    ("angle", "long", "short"),
    [(0.0, 0.3, 0.3), (0.6, 0.4, 0.2), (math.pi / 4, 0.5, 0.04), (2.5, 0.4, 0.035)],
    ids=["round", "turned", "narrow along the diagonal", "narrow"],
)
def test_the_best_gaussian_of_a_gaussian_posterior_is_the_posterior(
    angle: float, long: float, short: float
) -> None:
    loc, covariance = torch.tensor([0.4, -0.3]).double(), rotated(angle, long, short)
    windows = [window(lambda z: MultivariateNormal(loc, covariance).log_prob(z) - 130)]
    found = full.best(windows, START[0], torch.diag_embed(START[1]))
    assert found.elbo.item() == pytest.approx(-130, abs=1e-4)
    torch.testing.assert_close(found.loc[0], loc, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.lower[0] @ found.lower[0].T, covariance, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(found.scale[0], covariance.diagonal().sqrt(), rtol=1e-3, atol=0)
    assert full.narrowest(found.lower).item() == pytest.approx(short, rel=1e-3)
    # the best diagonal Gaussian has the posterior's conditional variances (Bishop 2006, section 10.1.2)
    diagonal = gaps.best(windows, *START)
    missed = -0.5 * (covariance.det() / covariance.diagonal().prod()).log().item()
    assert -130 - diagonal.elbo.item() == pytest.approx(missed, abs=1e-3 if missed < 1 else 0.2)


def by_lbfgs(window: Window, loc: torch.Tensor, scale: torch.Tensor) -> float:
    """The ELBO of the best Gaussian that L-BFGS finds from N(loc, diag(scale²)), by autograd."""
    z = torch.cartesian_prod(window.z2, window.z1).flip(1)
    loc, lower = loc.clone().requires_grad_(), torch.diag(scale).requires_grad_()
    optimizer = torch.optim.LBFGS([loc, lower], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        q = MultivariateNormal(loc, scale_tril=lower.tril())
        weights = q.log_prob(z).exp() * (window.z1[1] - window.z1[0]) ** 2
        value: torch.Tensor = -(weights * window.log_joint.double().flatten()).sum() - q.entropy()
        value.backward()
        return value

    optimizer.step(loss)
    return -loss().item()


@pytest.mark.parametrize("start", [(0.0, 0.0), (0.5, 0.3), (1.4, 1.6)])
def test_no_other_optimizer_finds_a_better_full_gaussian_from_the_same_start(
    start: tuple[float, float],
) -> None:
    windows = [window(bent)]
    diagonal = gaps.best(windows, torch.tensor([start]), START[1] / 2)
    found = full.best(windows, diagonal.loc, torch.diag_embed(diagonal.scale)).elbo.item()
    assert found > by_lbfgs(windows[0], diagonal.loc[0], diagonal.scale[0]) - 1e-3
    assert diagonal.elbo.item() - 1e-5 <= found <= windows[0].log_likelihood


def mixed(q: MultivariateNormal, z: torch.Tensor) -> torch.Tensor:
    return q.log_prob(z) + bent(z) / 4


def test_full_gaussians_of_several_images_are_those_of_each_alone() -> None:
    noise = stream(0, "windows")
    windows, locs = [], torch.randn(12, 2, generator=noise).double() / 2
    for loc, angle in zip(locs, torch.rand(12, generator=noise).tolist(), strict=True):
        q = MultivariateNormal(loc, rotated(3 * angle, 0.5, 0.1 + angle / 4))
        windows.append(window(functools.partial(mixed, q), nodes=90 + round(60 * angle)))
    lower = torch.diag_embed(START[1]).expand(12, 2, 2)
    together = full.best(windows, locs, lower)
    for i, one in enumerate(windows):
        alone = full.best([one], locs[i : i + 1], lower[i : i + 1])
        torch.testing.assert_close(alone.elbo[0], together.elbo[i], rtol=0, atol=1e-4)


def test_a_gaussian_that_its_window_is_too_small_for_is_marked() -> None:
    loc, covariance = torch.tensor([2.8, 2.8]).double(), rotated(0.7, 0.5, 0.1)
    windows = [window(lambda z: MultivariateNormal(loc, covariance).log_prob(z))]
    found = full.best(windows, START[0], torch.diag_embed(START[1]))
    assert found.blocked.tolist() == [True]
    assert (found.loc + 4 * found.scale).max() <= 3.0


@dataclass(frozen=True, repr=False)
class Case:
    """A model with an untrained encoder, 12 images, and the results of 6 of them."""

    model: VAE
    x: torch.Tensor
    found: Likelihood

    @property
    def q(self) -> Any:
        return self.model.encoder(self.x[self.found.subset])

    def log_joint(self, z: torch.Tensor) -> torch.Tensor:
        """log p(x, z) of latents (S, 6, 2) of the images with gaps, by the decoder: (S, 6)."""
        logits = self.model.decoder(z.flatten(0, 1)).unflatten(0, z.shape[:2])
        return log_likelihood(logits, self.x[self.found.subset]) + log_normal(z)


@pytest.fixture(scope="module", params=["full", "flow"])
def case(request: pytest.FixtureRequest) -> Case:
    model = small_vae((7, 7), (16, 8), stream(1, "init"), posterior=request.param).requires_grad_(False)
    for parameter in model.decoder.parameters():
        parameter.mul_(3)  # z has to matter to the decoder
    for parameter in model.encoder.shared.parameters() if model.encoder.shared else []:
        parameter.mul_(2)  # bends the flow
    model.encoder.get_parameter("fc_log_scale.bias").sub_(1)
    x = torch.bernoulli(model.decode(torch.randn(12, 2, generator=stream(9, "z"))), generator=stream(9, "x"))
    return Case(model, x, evaluate(model.eval(), x, GRID, torch.arange(0, 12, 2), 2))


def test_the_elbo_of_any_posterior_is_that_of_its_samples(case: Case) -> None:
    for q, elbo in zip(case.found.posteriors, (case.found.q.elbo, case.found.best.elbo), strict=True):
        z, log_q = q.sample_and_log_prob(torch.randn(10_000, 6, 2, generator=stream(3, "noise")))
        ratio = case.log_joint(z) - log_q
        error = (ratio.mean(0) - elbo).abs() / (ratio.std(0) / math.sqrt(10_000) + 1e-4)
        assert error.max() < 4.5


def test_richer_families_have_smaller_gaps_and_none_beats_the_posterior(case: Case) -> None:
    elbos, exact = case.found.families, case.found.log_likelihood[case.found.subset]
    assert list(elbos)[:3] == ["encoder", "best diagonal", "best full"]
    assert (elbos["best full"] >= elbos["best diagonal"]).all()
    own = elbos[f"best {case.model.design.posterior}"]
    assert ((own - elbos["encoder"]) > 0.01).all(), "the encoder is not trained"
    for elbo in elbos.values():
        assert (exact - elbo).min() > -1e-3
    found = case.found.gaps
    torch.testing.assert_close(found["inference"], found["approximation"] + found["amortization"])
    assert (found["amortization"].min() >= 0) & (found["approximation_of_better_start"].min() > -1e-3)
    rows = {row["family"]: row for row in case.found.by_family()}
    assert rows["encoder"]["gap"] == pytest.approx(found["inference"].mean().item())
    assert {row["images"] for row in rows.values()} == {6}


def test_no_gradient_through_the_decoder_finds_a_better_member_of_the_family(case: Case) -> None:
    tensors = {name: value.clone().requires_grad_() for name, value in case.q.parameters.items()}
    optimizer = torch.optim.Adam(tensors.values(), lr=0.03)
    half = torch.randn(60, 6, 2, generator=stream(4, "noise"))
    for _ in range(200):
        z, log_q = case.q.replace(**tensors).sample_and_log_prob(torch.cat([half, -half]))
        optimizer.zero_grad()
        (log_q - case.log_joint(z)).sum().backward()
        optimizer.step()
    windows = case.found.windows
    other = families.elbo(windows, case.q.replace(**tensors).detach())[0]
    assert (other - case.found.q.elbo).mean() > 0.3, "the start must not be optimal already"
    assert (case.found.best.elbo - other).min() > -0.02


def test_a_flow_that_bends_nothing_has_the_gaps_of_diagonal_gaussians(case: Case) -> None:
    if case.model.design.posterior != "flow":
        pytest.skip("of the flow")
    model = copy.deepcopy(case.model)
    for parameter in model.encoder.shared.parameters():
        parameter.zero_()
    found = evaluate(model, case.x, GRID, case.found.subset, 2)
    loc, log_scale = (value.double() for value in (case.q.loc, case.q.log_scale))
    elbo = gaps.elbo(found.windows, loc, log_scale.exp())
    torch.testing.assert_close(found.families["encoder"], elbo, rtol=0, atol=1e-3)
    worse = found.families["best diagonal"] - found.families["best flow"]
    assert worse.abs().max() < 0.01


def test_importance_samples_agree_with_the_quadrature_for_any_posterior(case: Case) -> None:
    x, noise = case.x[case.found.subset], stream(4, "check")
    sampled = importance_sampling(case.model, x, case.found.windows, 1000, noise)
    assert (sampled - case.found.log_likelihood[case.found.subset]).abs().max() < 0.05


def test_the_densities_to_draw_are_those_of_the_encoder_and_of_the_best(case: Case) -> None:
    shown = case.found.shown()
    for name in ("best", "median", "worst"):
        z1, log_q = shown[f"{name}_z1"], torch.from_numpy(shown[f"{name}_log_q"])
        assert log_q.shape[1:] == shown[f"{name}_log_joint"].shape
        mass = log_q.flatten(1).logsumexp(1).exp() * (z1[1] - z1[0]) ** 2
        assert mass.tolist() == pytest.approx([1.0, 1.0], abs=0.01)


def test_of_a_posterior_without_closed_forms_some_images_have_gaps(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likelihood, "OWN", 3)
    found = evaluate(case.model, case.x, GRID, torch.arange(0, 12, 2), 2)
    flow = case.model.design.posterior == "flow"
    assert found.subset.tolist() == ([0, 4, 8] if flow else [0, 2, 4, 6, 8, 10])
    assert len(found.q.elbo) == len(found.windows) == len(found.subset)


def test_a_convolutional_model_has_the_likelihood_of_a_dense_sum() -> None:
    architecture = {"kind": "conv", "channels": [3], "hidden": [8]}
    model = VAE((6, 5), Design(2, architecture, "tanh", "diagonal"), stream(1, "init")).requires_grad_(False)
    for parameter in model.decoder.parameters():
        parameter.mul_(3)
    x = torch.bernoulli(model.decode(torch.randn(8, 2, generator=stream(9, "z"))), generator=stream(9, "x"))
    line = (torch.arange(150) + 0.5) / 150 * 14 - 7
    z = torch.cartesian_prod(line, line)
    logits = model.decoder(z)
    joint = x @ logits.T - F.softplus(logits).sum(1) + log_normal(z)
    dense = joint.double().logsumexp(1) + 2 * math.log(14 / 150)
    found = evaluate(model.eval(), x, GRID, torch.arange(4), 2)
    assert (found.log_likelihood - dense).abs().max() < 1e-3
    assert list(found.families) == ["encoder", "best diagonal", "best full"]
    assert (dense[:4] - found.families["best full"]).min() > -1e-3
    assert dense.std() > 0.5
