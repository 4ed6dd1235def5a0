"""log p(x) and the gaps, compared with closed forms, other quadratures and another optimizer."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Bernoulli, Normal, kl_divergence

from elbo.determinism import stream
from elbo.evaluation import bounds
from elbo.exact import quadrature
from elbo.exact.grid import Boxes, Grid
from elbo.exact.likelihood import Likelihood, concentration, evaluate, importance_sampling, ratio
from elbo.exact.price import Price, price
from elbo.exact.quadrature import integrate, refine
from elbo.models.networks import Decoder, flops
from elbo.models.vae import VAE
from tests.support.models import small_vae

GRID = Grid(6.0, 240)
SLOPES = torch.tensor([[5.5, 0.0], [0.0, -3.0], [1.0, 1.0], [-0.5, 2.0]])  # of the tilted decoder's pixels
TILTED = torch.tensor([[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [1, 1, 0, 0]]).float()
TILTED_LIKELIHOOD = (TILTED @ SLOPES).double().square().sum(1) / 2 - 70 * TILTED.double().sum(1)


def tilted(scale: float = 1.0) -> VAE:
    """A VAE with posterior N(w, I) of image x, w = Σ x_i · SLOPES_i; the encoder gives N(w, scale² I).

    Its pixels are so unlikely that softplus(l) is 0 where there is mass: p(x|z) = exp(w·z − 70 Σ x_i), whose
    expectation under the prior is exp(|w|² / 2 − 70 Σ x_i).
    """
    vae = small_vae((2, 2), (4, 4), stream(0, "init")).requires_grad_(False)
    encoder: Any = vae.encoder
    decoder: Any = vae.decoder
    for parameter in vae.parameters():
        parameter.zero_()
    for square in (encoder.fc1, encoder.fc2, decoder.fc2):
        square.weight.copy_(torch.eye(4))
    encoder.fc_loc.weight.copy_(SLOPES.T)
    encoder.fc_log_scale.bias.fill_(math.log(scale))
    # z = relu(z) − relu(−z)
    decoder.fc1.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
    decoder.fc_out.weight.copy_(torch.stack([SLOPES, -SLOPES], 2).flatten(1))
    decoder.fc_out.bias.fill_(-70.0)
    return vae.eval()


class Dense:
    """log p(x, z) of N images at the midpoints of a square's cells, all in float64: (points, points, N)."""

    def __init__(self, decoder: Decoder, x: torch.Tensor, points: int = 400, reach: float = 8.0) -> None:
        self.line = reach * (2 * (torch.arange(points).double() + 0.5) / points - 1)
        self.cell = 2 * reach / points
        z, x = torch.cartesian_prod(self.line, self.line), x.double()
        logits = copy.deepcopy(decoder).double()(z)
        likelihood = F.logsigmoid(logits) @ x.T + F.logsigmoid(-logits) @ (1 - x).T
        joint = likelihood + Normal(0.0, 1.0).log_prob(z).sum(1, keepdim=True)
        self.log_joint = joint.unflatten(0, (points, points))
        self.log_likelihood = joint.logsumexp(0) + 2 * math.log(self.cell)

    def elbo(self, loc: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """log p(x) − KL(q || p(z|x)) of Gaussians (N, 2), a sum over the cells."""
        q = Normal(loc.double()[:, :, None], scale.double()[:, :, None])
        first, second = q.log_prob(self.line).unbind(1)
        log_q = (first[:, :, None] + second[:, None]).permute(1, 2, 0)
        ratio = log_q - (self.log_joint - self.log_likelihood)
        return self.log_likelihood - (log_q.exp() * ratio).sum((0, 1)) * self.cell**2

    def ascend(self, loc: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maximizes E_q[log p(x, z)] + H[q] with Adam, from Gaussians (N, 2); returns loc and scale."""
        loc, log_scale = loc.double().clone().requires_grad_(), scale.double().log().requires_grad_()
        optimizer = torch.optim.Adam([loc, log_scale], lr=0.03)
        for _ in range(250):
            q = Normal(loc[:, :, None], log_scale.exp()[:, :, None])
            first, second = (q.log_prob(self.line).exp() * self.cell).unbind(1)
            expected = torch.einsum("na,nb,abn->n", first, second, self.log_joint)
            optimizer.zero_grad()
            (-expected.sum() - q.entropy().sum()).backward()
            optimizer.step()
        return loc.detach(), log_scale.exp().detach()


@dataclass(frozen=True, repr=False)
class Case:
    """24 images, of which a subset of 8 has gaps; `exact` is for all and `dense` for the subset."""

    model: VAE
    x: torch.Tensor
    subset: torch.Tensor
    found: Likelihood
    exact: torch.Tensor
    dense: Dense


@pytest.fixture(scope="module", params=[(12, 2.0, 0.0), (49, 3.0, -1.0)], ids=["12 pixels", "49 pixels"])
def case(request: pytest.FixtureRequest) -> Case:
    """Posteriors about as wide as the prior, and posteriors down to a fifth of that."""
    pixels, gain, log_scale = request.param
    model = small_vae((1, pixels), (16, 8), stream(1, "init")).eval().requires_grad_(False)
    for parameter in model.decoder.parameters():
        parameter.mul_(gain)  # z has to matter to the decoder
    model.encoder.get_parameter("fc_log_scale.bias").add_(log_scale)
    x = torch.bernoulli(model.decode(torch.randn(24, 2, generator=stream(9, "z"))), generator=stream(9, "x"))
    subset = torch.arange(1, 24, 3)
    exact, dense = Dense(model.decoder, x).log_likelihood, Dense(model.decoder, x[subset])
    return Case(model, x, subset, evaluate(model, x, GRID, subset, 4), exact, dense)


def test_log_likelihood_matches_other_nodes_in_double_precision(case: Case) -> None:
    for found in (integrate(case.model.decoder, case.x, GRID).log_likelihood, case.found.log_likelihood):
        error = (found - case.exact).abs()
        assert (error.mean() < 0.001) & (error.max() < 0.01)


def test_a_decoder_that_ignores_z_has_its_likelihood_and_gaps_in_closed_form(case: Case) -> None:
    model = copy.deepcopy(case.model)
    model.decoder.get_parameter("fc_out.weight").zero_()
    expected = Bernoulli(logits=model.decoder.bias).log_prob(case.x).sum(1).double()
    found = evaluate(model, case.x, GRID, case.subset, 1)
    torch.testing.assert_close(found.log_likelihood, expected, rtol=0, atol=1e-4)
    kl = model.encoder(case.x[case.subset]).kl().sum(1).double()
    torch.testing.assert_close(found.gaps["inference"], kl, rtol=0, atol=1e-3)
    assert found.gaps["approximation"].abs().max() < 1e-4, "the prior is the posterior"


def test_a_decoder_of_one_coordinate_matches_gauss_hermite_quadrature() -> None:
    model = small_vae((3, 4), (16, 8), stream(3, "init"), activation="tanh").requires_grad_(False)
    model.decoder.get_parameter("fc1.weight")[:, 1] = 0
    x = (torch.rand(20, 12, generator=stream(2, "x")) < 0.5).float()
    nodes, weights = (torch.from_numpy(array) for array in np.polynomial.hermite_e.hermegauss(120))
    z = torch.stack([nodes, torch.zeros(120)], 1)
    likelihood = Bernoulli(logits=copy.deepcopy(model.decoder).double()(z)[:, None]).log_prob(x.double())
    expected = (likelihood.sum(-1) + weights.log()[:, None]).logsumexp(0) - 0.5 * math.log(2 * math.pi)
    found = integrate(model.decoder, x, GRID).log_likelihood
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_a_posterior_beyond_the_border_is_integrated_over_a_wider_grid() -> None:
    found = integrate(tilted().decoder, TILTED, GRID)
    torch.testing.assert_close(found.log_likelihood, TILTED_LIKELIHOOD, rtol=0, atol=1e-4)
    # a window stays with its image, whether that has moved to the wider grid or not
    index = torch.tensor([0, 1, 3])
    boxes = Boxes(index, -torch.ones(3, 2), torch.ones(3, 2))
    near, far, _ = windows = integrate(tilted().decoder, TILTED, GRID, boxes).windows
    mass = torch.tensor([window.log_likelihood for window in windows], dtype=torch.float64)
    torch.testing.assert_close(mass, TILTED_LIKELIHOOD[index], rtol=0, atol=1e-3)
    assert near.z1[1] - near.z1[0] < far.z1[1] - far.z1[0]


@pytest.mark.parametrize("scale", [1.5, 0.03], ids=["wide", "narrow"])
def test_gaussian_posteriors_have_their_gaps_in_closed_form_even_at_the_border(scale: float) -> None:
    found = evaluate(tilted(scale), TILTED, GRID, torch.arange(5), 5)
    torch.testing.assert_close(found.log_likelihood, TILTED_LIKELIHOOD, rtol=0, atol=1e-3)
    missed = 2 * kl_divergence(Normal(0.0, scale), Normal(0.0, 1.0)).item()
    for name, expected in (("inference", missed), ("approximation", 0.0), ("amortization", missed)):
        assert found.gaps[name].tolist() == pytest.approx([expected] * 5, abs=2e-3), name


def test_images_have_the_same_likelihoods_in_blocks(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    together = integrate(case.model.decoder, case.x, GRID)
    monkeypatch.setattr(quadrature, "BLOCK", 7)
    blocks = integrate(case.model.decoder, case.x, GRID)
    for name in ("log_likelihood", "spread", "border"):
        torch.testing.assert_close(getattr(blocks, name), getattr(together, name), rtol=0, atol=1e-5)


def test_refinement_reduces_the_error(case: Case) -> None:
    coarse, decoder = Grid(6.0, 120), case.model.decoder
    before = (integrate(decoder, case.x, coarse).log_likelihood - case.exact).abs().max()
    after = (refine(decoder, case.x, coarse, 3) - case.exact).abs().max()
    assert after < before / 2
    finer = integrate(decoder, case.x, Grid(6.0, 480)).log_likelihood
    assert (refine(decoder, case.x, GRID, 2) - finer).abs().max() < 1e-4


def test_importance_sampling_agrees_within_its_noise(case: Case) -> None:
    x, noise = case.x[case.subset], stream(4, "check")
    sampled = importance_sampling(case.model, x, case.found.windows, 1000, noise)
    assert (sampled - case.exact[case.subset]).abs().max() < 0.03


@pytest.mark.parametrize("samples", [10, 15], ids=["divisible by ten", "not divisible"])
def test_importance_sampling_is_unbiased_for_any_number_of_samples(case: Case, samples: int) -> None:
    x, windows = case.x[case.subset[:1]].repeat(400, 1), case.found.windows[:1] * 400
    sampled = importance_sampling(case.model, x, windows, samples, stream(4, "check"))
    ratio = (sampled - case.exact[case.subset[0]]).exp()
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / 20


def test_bounds_rise_towards_the_exact_log_likelihood(case: Case) -> None:
    found = bounds(case.model, case.x, 2000, [1, 10, 100, 1000], stream(5, "posterior"))
    rising = torch.stack([found.elbo, *found.iwae.values()], 1)
    missed = (case.found.log_likelihood[:, None] - rising).mean(0).tolist()
    assert missed[0] == pytest.approx(missed[1], abs=0.05)
    assert sorted(missed[1:], reverse=True) == missed[1:]
    assert -0.03 < missed[-1] < missed[0] / 2


def test_the_elbo_is_the_log_likelihood_less_the_divergence_from_the_posterior(case: Case) -> None:
    for q in (case.found.q, case.found.best):
        assert (q.elbo - case.dense.elbo(q.loc, q.scale)).abs().max() < 1e-3


def test_gaps_add_up_and_no_gaussian_beats_the_posterior(case: Case) -> None:
    found = case.found.gaps
    torch.testing.assert_close(found["inference"], found["approximation"] + found["amortization"])
    assert min(found["approximation"].min(), found["approximation_of_better_start"].min()) >= -1e-4
    assert found["amortization"].min() >= 0, "the ascent starts at the encoder's Gaussian"


def test_no_other_optimizer_finds_a_better_gaussian_from_the_same_start(case: Case) -> None:
    q, best = case.found.q, case.found.best
    coarse = Dense(case.model.decoder, case.x[case.subset], 200)
    found = case.dense.elbo(*coarse.ascend(q.loc, q.scale))
    assert (found - q.elbo).mean() > 0.5, "the start must not be optimal already"
    assert (best.elbo - found).min() > -1e-3


def test_the_gaps_of_an_image_do_not_depend_on_the_other_images(case: Case) -> None:
    other = evaluate(case.model, case.x, GRID, case.subset[::3], 1)
    pairs = [(found.q.elbo, found.best.elbo, found.elbo_from_mode) for found in (other, case.found)]
    for one, of_all in zip(*pairs, strict=True):
        torch.testing.assert_close(one, of_all[::3], rtol=0, atol=1e-4)


def test_flops_are_two_per_weight() -> None:
    model = small_vae((3, 4), (16, 8), stream(1, "init"))
    assert flops(model.encoder) == 2 * (12 * 16 + 16 * 8 + 2 * 8 * 2)
    assert flops(model.decoder) == 2 * (2 * 8 + 8 * 16 + 16 * 12)


def test_the_price_includes_images_that_never_reach_the_target() -> None:
    found = Price(torch.tensor([5, 10, -1, 30]), 300, 100, 400).summary()
    assert (found["reached"], found["steps_median_of_all"]) == (0.75, 20)
    # the third image used all 300 steps without reaching the target
    assert found["times_encoder_at_least"] == 4 * (5 + 10 + 300 + 30) / 4
    some, half, none = (
        Price(torch.tensor(steps), 300, 100, 400).summary()
        for steps in ([5, 10, 20, 30], [5, 10, -1, -1], [-1, -1, -1, -1])
    )
    assert (some["steps_median_of_all"], some["times_encoder_at_least"]) == (15, 65)
    assert half["steps_median_of_all"] is none["steps_median_of_all"] is None
    assert (none["reached"], none["times_encoder_at_least"]) == (0, 1200)


def test_the_error_of_the_amortization_share_matches_the_bootstrap() -> None:
    rng = np.random.default_rng(0)
    amortization = rng.lognormal(0.5, 1.5, 2000)
    inference = amortization + 0.3 * rng.lognormal(0.0, 1.0, 2000)
    found = ratio("share", torch.from_numpy(amortization), torch.from_numpy(inference))
    assert found["share"] == pytest.approx(amortization.sum() / inference.sum())
    again = rng.integers(0, 2000, (2000, 2000))
    resampled = amortization[again].mean(1) / inference[again].mean(1)
    assert found["share_se"] == pytest.approx(resampled.std(), rel=0.1)
    zero = torch.zeros(3, dtype=torch.float64)
    assert ratio("share", zero, zero) == {"share": None, "share_se": None}
    assert ratio("share", zero[:1] + 1, zero[:1] + 2) == {"share": 0.5, "share_se": None}


def test_concentration_gives_the_median_and_the_share_of_the_worst_images() -> None:
    gap = torch.tensor([0.0, *[1.0] * 17, 23.0, 60.0], dtype=torch.float64)[torch.randperm(20)]
    found = concentration(gap)
    expected = {"median": 1.0, "share_of_worst_5_percent": 0.6, "share_of_worst_10_percent": 0.83}
    assert found == pytest.approx(expected)
    assert concentration(torch.zeros(2))["share_of_worst_5_percent"] == 0.0


def test_the_summary_has_median_and_shares_besides_means(case: Case) -> None:
    elbo = case.found.log_likelihood - torch.arange(24.0, dtype=torch.float64)
    found: dict[str, Any] = case.found.summary(elbo)
    assert (found["inference_gap"], found["gap_shape"]["median"]) == pytest.approx((11.5, 11.5))
    assert found["gap_shape"]["share_of_worst_10_percent"] == pytest.approx((23 + 22) / 276)
    gaps = found["gaps"]
    assert gaps["amortization_share"] == pytest.approx(gaps["amortization"] / gaps["inference"])
    assert gaps["amortization_share_se"] > 0


def test_the_price_is_the_steps_until_the_target() -> None:
    x, exact, model = TILTED[2:4], TILTED_LIKELIHOOD[2:4], tilted()
    never, at_once, near = (
        price(model, x, exact + extra, 4, 60, 0.1, stream(6, "price")) for extra in (5, -500, -0.5)
    )
    assert never.steps.tolist() == [-1, -1]
    assert at_once.steps.tolist() == [5, 5]
    assert near.step_flops == 2 * 4 * flops(model.decoder)
    # KL(N(loc, I) || N(w, I)) = |loc − w|² / 2 is half a nat only within 1 of w, and |w| is 3 or more
    assert ((near.steps >= 20) & (near.steps <= 50)).all()
