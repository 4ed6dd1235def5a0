"""The posteriors, compared with torch.distributions, with integrals over the plane, and with many samples."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from elbo.bounds import log_normal
from elbo.determinism import stream
from elbo.models.networks import POSTERIORS
from elbo.models.posteriors import FullNormal, Posterior

FAMILIES = list(POSTERIORS)
IMAGES = 3


def posterior(family: str, latent: int = 2) -> Any:
    """A posterior of three images; a flow is bent about as much as a trained one."""
    generator = stream(0, family)
    cls = POSTERIORS[family]
    tensors = {
        name: 0.5 * torch.randn(IMAGES, size, generator=generator) - float(name == "log_scale")
        for name, size in cls.heads(latent).items()
    }
    shared = cls.shared(latent, generator)
    if shared is None:
        return cls(**tensors)
    for layer in shared.requires_grad_(False):
        layer.leave.weight.mul_(10)
    return cls(**tensors, layers=shared)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=stream(1, "noise"))


def plane(reach: float = 6.0, points: int = 301) -> tuple[torch.Tensor, float]:
    """(points², 1, 2) the nodes of a square grid, and the area of a cell."""
    line = torch.linspace(-reach, reach, points)
    return torch.cartesian_prod(line, line)[:, None], (2 * reach / (points - 1)) ** 2


@pytest.mark.parametrize("latent", [2, 5])
def test_a_full_normal_is_torchs_multivariate_normal(latent: int) -> None:
    q: FullNormal = posterior("full", latent)
    expected = MultivariateNormal(q.loc, scale_tril=q.factor)
    assert torch.equal(q.factor, q.factor.tril())
    draws = noise(7, IMAGES, latent)
    z = q.sample(draws)
    torch.testing.assert_close(z, q.loc + torch.einsum("nij,snj->sni", q.factor, draws))
    torch.testing.assert_close(q.log_prob(z), expected.log_prob(z))
    torch.testing.assert_close(q.scale, expected.stddev)
    prior = MultivariateNormal(torch.zeros(latent), torch.eye(latent))
    torch.testing.assert_close(q.kl().sum(1), kl_divergence(expected, prior))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("latent", [2, 5])
def test_the_density_of_samples_is_the_one_they_are_drawn_with(family: str, latent: int) -> None:
    q = posterior(family, latent)
    draws = noise(4, 6, IMAGES, latent)
    z, log_prob = q.sample_and_log_prob(draws)
    assert (z.shape, log_prob.shape) == ((4, 6, IMAGES, latent), (4, 6, IMAGES))
    torch.testing.assert_close(z, q.sample(draws))
    torch.testing.assert_close(q.log_prob(z), log_prob, rtol=1e-4, atol=1e-4)
    # log q(z) = log N(noise) − log |det dz/dnoise|
    one = draws[0, 0]
    jacobian = torch.autograd.functional.jacobian(lambda value: q.sample(value).sum(0), one)
    determinant = torch.linalg.slogdet(jacobian.transpose(0, 1)).logabsdet
    torch.testing.assert_close(log_normal(one) - determinant, log_prob[0, 0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_densities_integrate_to_one_and_give_the_kl(family: str) -> None:
    q = posterior(family)
    z, cell = plane()
    log_q = q.log_prob(z.expand(-1, IMAGES, -1)).double()
    mass = log_q.exp() * cell
    torch.testing.assert_close(mass.sum(0), torch.ones(IMAGES).double(), rtol=0, atol=1e-3)
    exact = (mass * (log_q - log_normal(z).double())).sum(0)
    terms = q.draw(noise(20_000, IMAGES, 2))[1].double().sum(-1)
    if (closed := q.kl()) is not None:
        assert torch.equal(terms, closed.double().sum(-1))
        torch.testing.assert_close(terms, exact, rtol=0, atol=2e-3)
    else:
        error = terms.std(0) / len(terms) ** 0.5
        assert ((terms.mean(0) - exact).abs() < 4 * error + 2e-3).all()
        assert (error > 0).all()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("latent", [2, 10])
def test_mean_and_scale_are_those_of_many_samples(family: str, latent: int) -> None:
    q = posterior(family, latent)
    z = q.sample(noise(40_000, IMAGES, latent)).double()
    mean, scale = z.mean(0), z.std(0)
    for error in ((q.mean - mean) / scale, q.scale / scale - 1):
        assert error.square().mean().sqrt() < 0.04


@pytest.mark.parametrize("family", FAMILIES)
def test_a_posterior_can_be_indexed_replaced_and_detached(family: str) -> None:
    q: Posterior = posterior(family)
    assert list(q.parameters) == list(POSTERIORS[family].heads(2))
    draws = noise(IMAGES, 2)
    torch.testing.assert_close(q[1:].sample(draws[1:]), q.sample(draws)[1:])
    moved = q.replace(loc=q.parameters["loc"] + 1)
    assert not torch.equal(moved.mean, q.mean)
    learned = q.replace(**{name: value.clone().requires_grad_() for name, value in q.parameters.items()})
    assert learned.sample(draws).requires_grad
    assert not learned.detach().sample(draws).requires_grad
