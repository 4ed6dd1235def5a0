"""What the estimators ask of a model: log p(x|z) with its gradient in z, and q(z|x). The prior is N(0, I)."""

from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from elbo.bounds import fast_log_likelihood
from elbo.models.layers import product
from elbo.models.posteriors import Posterior

# log p(x|z): latents (S, N, D), or (S, 1, D) for all images, and images (N, pixels) to (S, N), nats
LogLikelihood = Callable[[Tensor, Tensor], Tensor]
Encode = Callable[[Tensor], Posterior]  # images (N, pixels) to q(z|x)
T = TypeVar("T")


def bernoulli(decoder: Callable[[Tensor], Tensor]) -> LogLikelihood:
    """log p(x|z) of the binary pixels of a decoder: latents (N, D) to logits (N, pixels)."""

    def likelihood(z: Tensor, x: Tensor) -> Tensor:
        logits = decoder(z.flatten(0, -2)).view(*z.shape[:-1], -1)
        if z.shape[-2] < len(x):  # all images share the latents: one matrix product
            return product(logits[:, 0], x) - F.softplus(logits).sum(-1)
        return fast_log_likelihood(logits, x)

    return likelihood


def join(parts: Iterable[T]) -> T:
    """The results of batches of images as those of all: their tensors (…, N) in one."""
    found = list(parts)
    names = [field.name for field in fields(found[0])]  # type: ignore[arg-type]
    joined = {name: torch.cat([getattr(part, name) for part in found], -1) for name in names}
    return type(found[0])(**joined)
