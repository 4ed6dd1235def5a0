import math
from collections.abc import Callable

import pytest
import torch
from torch.distributions import MultivariateNormal

from elbo.determinism import stream
from elbo.exact import full, gaps
from elbo.exact.grid import Window

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
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
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


def test_full_gaussians_of_several_images_are_those_of_each_alone() -> None:
    noise = stream(0, "windows")
    windows, locs = [], torch.randn(12, 2, generator=noise).double() / 2
    for loc, angle in zip(locs, torch.rand(12, generator=noise).tolist(), strict=True):
        q = MultivariateNormal(loc, rotated(3 * angle, 0.5, 0.1 + angle / 4))
        windows.append(window(lambda z, q=q: q.log_prob(z) + bent(z) / 4, nodes=90 + round(60 * angle)))
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
