"""Importance sampling with refined posteriors, where the truth is known."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from elbo.determinism import stream
from elbo.estimates.model import bernoulli, join
from elbo.estimates.psis import largest_trusted
from elbo.estimates.refined import first_loc, refine, weigh
from elbo.exact.grid import Grid
from elbo.exact.quadrature import integrate
from elbo.models.posteriors import DiagonalNormal
from tests.elbo.estimates.linear import linear
from tests.support.models import small_vae


@dataclass(frozen=True)
class Settings:
    steps: int = 60
    draws: int = 4
    lr: float = 0.1
    samples: int = 300
    prior_share: float = 0.1


@pytest.mark.parametrize("latent", [1, 2, 5, 20])
def test_refined_posteriors_are_the_best_of_their_family_and_their_estimate_is_exact(latent: int) -> None:
    model = linear(latent)
    _, x = model.sample(40)
    exact, posterior = model.log_likelihood(x), model.posterior(x)
    found = join(refine(model.encode, model.likelihood, x, Settings(), stream(0, "refine")))
    loc, scale = model.best_diagonal(x)
    q = model.encode(x)
    for elbo, (mean, deviation) in zip(found.elbo, [(q.mean, q.scale), (loc, scale)], strict=False):
        gaussian = MultivariateNormal(mean.double(), torch.diag_embed(deviation.double().square()))
        gap = kl_divergence(gaussian, posterior)
        assert (exact - elbo).mean().item() == pytest.approx(gap.mean().item(), abs=0.05 + 0.02 * latent)
    assert (exact - found.elbo[2]).mean() < 0.04 * latent, "the posterior is a Gaussian"
    assert (found.bound[2] - exact).abs().mean() < 0.05 + 0.005 * latent
    assert (found.pareto_k[2] < largest_trusted(300)).double().mean() > 0.7
    for bound in found.bound:  # a lower bound on average
        error = bound - exact
        assert error.mean() < 3 * error.std() / math.sqrt(len(x))


def test_the_estimate_is_unbiased_whatever_the_proposal() -> None:
    model = linear(2, shift=-3.0, stretch=0.5)  # alone, this proposal misses the posterior
    _, x = model.sample(1)
    exact, many = model.log_likelihood(x), x.expand(2000, -1)
    settings = Settings(samples=50, prior_share=0.2)
    _, bound, _ = weigh(model.encode(many), model.likelihood, many, settings, stream(0, "weigh"))
    ratio = (bound - exact).exp()
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / math.sqrt(len(ratio))
    assert bound.mean() < exact


def test_a_refined_estimate_is_the_quadrature_even_if_the_encoder_is_wrong() -> None:
    model = small_vae((7, 7), (16, 8), stream(1, "init")).requires_grad_(False)
    for parameter in model.decoder.parameters():
        parameter.mul_(3.0)  # z has to matter to the decoder
    z = torch.randn(40, 2, generator=stream(9, "z"))
    x = torch.bernoulli(model.decode(z), generator=stream(9, "x"))
    exact = integrate(model.decoder, x, Grid(6.0, 240)).log_likelihood
    likelihood = bernoulli(model.decoder)
    wrong = DiagonalNormal(torch.full((40, 2), 4.0), torch.full((40, 2), -1.0))
    found = join(refine(lambda _: wrong, likelihood, x, Settings(), stream(0, "refine")))
    for bound in found.bound[1:]:
        assert abs((bound - exact).mean()) < 0.05
    assert (found.elbo[1] < exact + 0.05).all()


def test_ascent_starts_where_the_prior_finds_more_than_the_encoder() -> None:
    model = linear(2, shift=-30.0)
    _, x = model.sample(20)
    q, loc = model.encode(x), model.best_diagonal(x)[0].float()
    start = first_loc(q, model.likelihood, x, stream(0, "search"))
    assert (start - loc).norm(dim=1).max() < 0.5 < (q.mean - loc).norm(dim=1).min()
    right = replace(q, loc=loc)
    assert torch.equal(first_loc(right, model.likelihood, x, stream(0, "search")), loc)


def test_the_likelihood_of_shared_latents_and_its_gradient_are_those_of_torch_distributions() -> None:
    model = small_vae((3, 4), (16, 8), stream(1, "init"), latent=3).requires_grad_(False)
    x = (torch.rand(5, 12, generator=stream(2, "x")) < 0.4).float()
    z = torch.randn(6, 1, 3, generator=stream(2, "z"))
    logits = model.decoder(z[:, 0])[:, None]
    expected = torch.distributions.Bernoulli(logits=logits).log_prob(x).sum(-1)
    likelihood = bernoulli(model.decoder)
    torch.testing.assert_close(likelihood(z, x), expected)
    own = z.repeat(1, 5, 1).requires_grad_()
    found = likelihood(own, x)
    torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad(found.sum(), own)
    direct = torch.distributions.Bernoulli(logits=model.decoder(own.view(-1, 3)).view(6, 5, -1)).log_prob(x)
    torch.testing.assert_close(gradient, torch.autograd.grad(direct.sum(), own)[0])


def test_a_flow_is_refined_in_its_own_family() -> None:
    model = small_vae((3, 4), (16, 8), stream(1, "init"), latent=3, posterior="flow").requires_grad_(False)
    for parameter in model.decoder.parameters():
        parameter.mul_(2.0)
    x = (torch.rand(10, 12, generator=stream(2, "x")) < 0.4).float()
    found = join(refine(model.encoder, bernoulli(model.decoder), x, Settings(), stream(0, "refine")))
    assert found.elbo.shape == (4, 10)
    assert found.elbo[0].mean() < found.elbo[3].mean() < found.bound[2].mean()
    assert (found.bound[3] - found.bound[2]).abs().mean() < 0.05
