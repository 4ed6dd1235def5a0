"""The bounds, compared with closed forms, torch.distributions and integrals over the plane."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Normal, kl_divergence

from elbo.bounds import (
    importance_weighted,
    kl_to_prior,
    log_likelihood,
    log_normal,
    mean_and_error,
    total_log_likelihood,
)
from elbo.determinism import stream
from elbo.evaluation import bounds
from elbo.models.layers import ONE_DNN, Linear
from elbo.models.posteriors import DiagonalNormal
from elbo.models.vae import VAE
from elbo.negative_elbo import score
from tests.support.models import small_vae

PIXELS = 12
PRIOR = Normal(torch.zeros(2), torch.ones(2))


def random(*shape: int, purpose: str = "test") -> torch.Tensor:
    return torch.randn(*shape, generator=stream(0, purpose), dtype=torch.float64)


@pytest.fixture
def model() -> VAE:
    """A VAE whose decoder depends on z, and whose q is wide enough for importance sampling to converge."""
    vae = small_vae((3, 4), (16, 8), stream(1, "init"))
    with torch.no_grad():
        for parameter in vae.decoder.parameters():
            parameter.mul_(2.0)
        vae.encoder.get_parameter("fc_log_scale.bias").add_(0.3)
    return vae.eval().requires_grad_(False)


@pytest.fixture
def images() -> torch.Tensor:
    return (torch.rand(40, PIXELS, generator=stream(2, "images")) < 0.4).float()


def exact(model: VAE, images: torch.Tensor, points: int = 500, reach: float = 7.0) -> torch.Tensor:
    """log p(x) by the midpoint rule on a square, without the code under test."""
    step = 2 * reach / points
    line = -reach + step * (torch.arange(points) + 0.5)
    z = torch.cartesian_prod(line, line)
    prior = Normal(0.0, 1.0).log_prob(z).sum(1).double()
    logits = model.decoder(z)
    likelihood = Bernoulli(logits=logits[:, None]).log_prob(images[None, :8]).sum(-1).double()
    return torch.logsumexp(likelihood + prior[:, None], 0) + 2 * math.log(step)


def test_log_likelihood_matches_torch_distributions() -> None:
    logits, x = 3 * random(20, PIXELS), (random(20, PIXELS, purpose="x") > 0).double()
    expected = Bernoulli(logits=logits).log_prob(x).sum(1)
    torch.testing.assert_close(log_likelihood(logits, x), expected)
    torch.testing.assert_close(total_log_likelihood(logits, x), expected.sum())


def test_the_gradient_of_the_total_log_likelihood_matches_autograd() -> None:
    logits = (3 * random(5, PIXELS)).requires_grad_()
    x = (random(5, PIXELS, purpose="x") > 0).double()
    assert torch.autograd.gradcheck(lambda value: total_log_likelihood(value, x), logits)


def test_log_likelihood_stays_finite_at_extreme_logits() -> None:
    logits = torch.tensor([[1e4, -1e4]])
    right, wrong = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert log_likelihood(logits, right).item() == 0.0
    assert log_likelihood(logits, wrong).item() == -2e4


@given(st.floats(-4, 4), st.floats(-5, 2))
@settings(max_examples=50, deadline=None)
def test_kl_to_the_prior_matches_torch_distributions(loc: float, log_scale: float) -> None:
    location, log_sigma = torch.tensor([loc]).double(), torch.tensor([log_scale]).double()
    expected = kl_divergence(Normal(location, log_sigma.exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(kl_to_prior(location, log_sigma), expected)


def test_log_normal_matches_torch_distributions() -> None:
    z, loc, log_scale = random(6, 2), random(6, 2, purpose="loc"), random(6, 2, purpose="scale")
    torch.testing.assert_close(log_normal(z, loc, log_scale), Normal(loc, log_scale.exp()).log_prob(z).sum(1))
    torch.testing.assert_close(log_normal(z), Normal(0.0, 1.0).log_prob(z).sum(1))


def normal(q: DiagonalNormal) -> Normal:
    return Normal(q.loc, q.scale)


def test_importance_weighting_matches_a_hand_calculation() -> None:
    log_weights = torch.tensor([[1.0], [3.0], [2.0], [8.0]]).log()
    assert importance_weighted(log_weights, 4).item() == pytest.approx(math.log(3.5))
    assert importance_weighted(log_weights, 2).item() == pytest.approx((math.log(2) + math.log(5)) / 2)
    with pytest.raises(ValueError, match="groups of 3"):
        importance_weighted(log_weights, 3)


def test_a_decoder_that_ignores_z_has_all_bounds_in_closed_form(model: VAE, images: torch.Tensor) -> None:
    model.decoder.get_parameter("fc_out.weight").zero_()
    log_p = Bernoulli(logits=model.decoder.bias).log_prob(images).sum(1).double()
    kl = kl_divergence(normal(model.encoder(images)), PRIOR).sum(1).double()
    found = bounds(model, images, 20, [1, 10], stream(3, "posterior"))
    torch.testing.assert_close(found.elbo, log_p - kl, rtol=0, atol=1e-4)
    for name in ("fc_loc.weight", "fc_loc.bias", "fc_log_scale.weight", "fc_log_scale.bias"):
        model.encoder.get_parameter(name).zero_()  # q is the prior: every bound is log p(x) itself
    found = bounds(model, images, 20, [1, 10], stream(3, "posterior"))
    for bound in (found.elbo, found.iwae[1], found.iwae[10]):
        torch.testing.assert_close(bound, log_p, rtol=0, atol=1e-4)


def test_bounds_rise_with_k_and_stay_below_the_integral(model: VAE, images: torch.Tensor) -> None:
    found = bounds(model, images[:8], 3000, [1, 10, 100, 1000], stream(4, "posterior"))
    log_p = exact(model, images)
    rising = [found.iwae[k] for k in (1, 10, 100, 1000)]
    for looser, tighter in itertools.pairwise(rising):
        assert (looser <= tighter).all()
    assert (rising[-1] - log_p).abs().mean() < 0.03, "k = 1000 comes near the integral"
    assert (rising[0] < log_p - 0.01).any(), "the model must have a gap"
    # the ELBO and IWAE with k = 1 estimate the same value
    assert (found.elbo - found.iwae[1]).abs().max() < 0.2


def test_the_elbo_is_the_integral_of_the_reconstruction_minus_the_kl(
    model: VAE, images: torch.Tensor
) -> None:
    x = images[:8]
    q = normal(model.encoder(x))
    line = torch.linspace(-6, 6, 241)
    offsets = torch.cartesian_prod(line, line)
    weights = Normal(0.0, 1.0).log_prob(offsets).sum(1).softmax(0)
    z = q.mean + offsets[:, None] * q.stddev
    expected = (weights[:, None] * Bernoulli(logits=model.decoder(z)).log_prob(x).sum(-1)).sum(0)
    expected = (expected - kl_divergence(q, PRIOR).sum(1)).double()
    found = bounds(model, x, 20_000, [1], stream(5, "posterior"))
    assert (found.elbo - expected).abs().max() < 0.05
    many = x.repeat(4000, 1)
    single = score(model, many, stream(6, "score"))["elbo"]
    assert single == pytest.approx(expected.mean().item(), abs=0.05)


def test_images_that_exceed_one_batch_all_get_their_bounds(model: VAE) -> None:
    images = (torch.rand(700, PIXELS, generator=stream(7, "images")) < 0.4).float()
    found = bounds(model, images, 10, [10], stream(8, "posterior"))
    assert found.elbo.shape == found.iwae[10].shape == (700,)
    again = bounds(model, images, 10, [10], stream(8, "posterior"))
    assert torch.equal(found.elbo, again.elbo)
    summary = found.summary()
    assert summary["elbo"] == pytest.approx(summary["reconstruction"] - summary["kl"])
    assert summary["elbo_se"] == pytest.approx(found.elbo.std().item() / math.sqrt(700))


def test_one_value_has_no_standard_error_and_none_no_mean() -> None:
    values = torch.tensor([1.0, 2.0], dtype=torch.float64)
    assert mean_and_error("x", values) == {"x": 1.5, "x_se": pytest.approx(0.5)}
    assert mean_and_error("x", values[:1]) == {"x": 1.0, "x_se": None}
    assert mean_and_error("x", values[:0]) == {"x": None, "x_se": None}


def test_linear_layers_are_initialized_as_in_pytorch() -> None:
    torch.manual_seed(7)
    expected = torch.nn.Linear(5, 3)
    found = Linear(5, 3, torch.Generator().manual_seed(7))
    assert torch.equal(found.weight, expected.weight)
    assert torch.equal(found.bias, expected.bias)


@pytest.mark.skipif(not ONE_DNN, reason="this build of torch has no oneDNN linear")
@pytest.mark.parametrize("shape", [(64, 784, 512), (7, 3, 5), (1, 2, 1), (500, 2, 3)])
def test_one_dnn_linear_and_its_gradients_match_nn_linear(shape: tuple[int, int, int]) -> None:
    rows, inputs, outputs = shape
    layer = Linear(inputs, outputs, stream(0, "init"))
    x = torch.randn(rows, inputs, generator=stream(0, "x")).requires_grad_()
    weights = torch.randn(rows, outputs, generator=stream(0, "weights"))
    found = torch.autograd.grad((layer(x) * weights).sum(), [x, layer.weight, layer.bias])
    plain = torch.nn.functional.linear(x, layer.weight, layer.bias)
    expected = torch.autograd.grad((plain * weights).sum(), [x, layer.weight, layer.bias])
    torch.testing.assert_close(layer(x), plain, rtol=1e-5, atol=1e-5)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
