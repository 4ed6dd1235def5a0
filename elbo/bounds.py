"""Closed forms and bounds of the log-likelihood, in nats."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class _BernoulliLogLikelihood(torch.autograd.Function):
    """x·l − softplus(l) of each row, or their total; its gradient x − sigmoid(l) takes one pass."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, x: Tensor, total: bool) -> Tensor:
        ctx.save_for_backward(logits, x)
        if total:
            return torch.dot(x.reshape(-1), logits.reshape(-1)) - F.softplus(logits).sum()
        return log_likelihood(logits, x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        logits, x = ctx.saved_tensors
        return (x - logits.sigmoid()).mul_(gradients[0][..., None]), None, None


def total_log_likelihood(logits: Tensor, x: Tensor) -> Tensor:
    """log p(x|z) summed over all images, in nats: (N, pixels) and (N, pixels) to a scalar.

    The fast form for training, differentiable in the logits of the Bernoulli pixels.
    """
    total: Tensor = _BernoulliLogLikelihood.apply(logits, x, True)
    return total


def fast_log_likelihood(logits: Tensor, x: Tensor) -> Tensor:
    """`log_likelihood` (…, N) with the fast gradient, in the logits (…, N, pixels) alone."""
    rows: Tensor = _BernoulliLogLikelihood.apply(logits, x, False)
    return rows


def log_likelihood(logits: Tensor, x: Tensor) -> Tensor:
    """log p(x|z) = Σ x·l − softplus(l) of each image: (N, pixels) and (N, pixels) to (N,)."""
    return torch.linalg.vecdot(x, logits) - F.softplus(logits).sum(-1)


def kl_to_prior(loc: Tensor, log_scale: Tensor) -> Tensor:
    """KL(N(loc, scale²) || N(0, 1)) of each dimension (Kingma and Welling 2014, appendix B), (…, D)."""
    return 0.5 * (loc.square() + (2 * log_scale).exp() - 1) - log_scale


def log_normal(z: Tensor, loc: Tensor | float = 0.0, log_scale: Tensor | float = 0.0) -> Tensor:
    """log N(z; loc, diag(scale²)), summed over the last dimension: (…, D) to (…)."""
    log_scale = torch.as_tensor(log_scale, dtype=z.dtype)
    standard = (z - loc) * (-log_scale).exp()
    return (-0.5 * standard.square() - log_scale - 0.5 * math.log(2 * math.pi)).sum(-1)


def importance_weighted(log_weights: Tensor, k: int) -> Tensor:
    """(N,) the importance-weighted bound with k samples, averaged over disjoint groups of k.

    IWAE_k = E[log 1/k Σ p(x, z_i) / q(z_i|x)] (Burda, Grosse and Salakhutdinov 2016). With the same
    weights and k dividing k', IWAE_k <= IWAE_k' holds for each image, not only on average (Jensen).

    Args:
        log_weights: (S, N) log p(x, z) − log q(z|x), float64 for large S.

    Raises:
        ValueError: k does not divide S.
    """
    samples, images = log_weights.shape
    if samples % k:
        raise ValueError(f"{samples} samples cannot be split into groups of {k}")
    groups = log_weights.view(samples // k, k, images)
    return (groups.logsumexp(1) - math.log(k)).mean(0)


def mean_and_error(name: str, values: Tensor) -> dict[str, float | None]:
    """The mean of values (N,) as `name`, its standard error as `<name>_se`; None of no, or of one value."""
    error = values.std().item() / math.sqrt(len(values)) if len(values) > 1 else None
    return {name: values.mean().item() if len(values) else None, f"{name}_se": error}
