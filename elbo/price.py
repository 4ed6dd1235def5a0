"""What inference costs: floating-point operations of the encoder against optimization image by image."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from elbo.bounds import kl_to_prior, log_likelihood
from elbo.vae import LATENT, VAE

EVERY = 5  # steps between two evaluations of the bound, which are not part of the price


@dataclass(frozen=True)
class Price:
    """Of N images.

    Attributes:
        steps: (N,) gradient steps until the image's ELBO was seen as high as the encoder's; -1: never.
        limit: the steps after which it was given up.
        encoder_flops: of one image, one pass.
        step_flops: of one image, one step.
    """

    steps: Tensor
    limit: int
    encoder_flops: int
    step_flops: int

    def summary(self) -> dict[str, float | None]:
        """What all images cost, those included that never got as far as the encoder.

        The median counts them last, and is None where it falls among them. `times_encoder_at_least` is the
        mean work over an encoder's pass, where they count as if the limit had been enough: a lower bound.
        """
        never = self.steps < 0
        spent = torch.where(never, self.limit, self.steps).double()
        median = statistics.median(torch.where(never, math.inf, self.steps.double()).tolist())
        return {
            "images": len(self.steps),
            "reached": 1 - never.double().mean().item(),
            "steps_median_of_all": median if math.isfinite(median) else None,
            "encoder_flops": self.encoder_flops,
            "step_flops": self.step_flops,
            "times_encoder_at_least": self.step_flops / self.encoder_flops * spent.mean().item(),
        }


class Settings(Protocol):
    @property
    def samples(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def lr(self) -> float: ...


def flops(network: nn.Module) -> int:
    """Floating-point operations of a pass of one row: two for each weight of each linear layer."""
    return sum(2 * layer.weight.numel() for layer in network.modules() if isinstance(layer, nn.Linear))


def price(model: VAE, x: Tensor, target: Tensor, settings: Settings, generator: torch.Generator) -> Price:
    """Optimizes a Gaussian for each image (N, pixels) from the prior on, as one would without an encoder.

    Adam on mean and log scale, by reparametrized samples (Kingma and Welling 2014). The gradient is for the
    latent alone, so a step is `samples` passes forward through the decoder and as many back, each of the
    same operations.

    Args:
        target: (N,) the ELBO to reach, nats.
        settings: `samples` of the posterior in each step, `steps` after which it gives up, Adam's `lr`.
    """
    loc = torch.zeros(len(x), LATENT, requires_grad=True)
    log_scale = torch.zeros(len(x), LATENT, requires_grad=True)
    optimizer = torch.optim.Adam([loc, log_scale], lr=settings.lr)
    reached = torch.full((len(x),), -1)
    check = 10 * settings.samples  # a bound by few samples would now and then be lucky

    def bound(count: int) -> Tensor:
        noise = torch.randn(count, len(x), LATENT, generator=generator)
        z = (loc + noise * log_scale.exp()).flatten(0, 1)
        likelihood = log_likelihood(model.decoder(z).unflatten(0, (count, len(x))), x)
        return likelihood.mean(0) - kl_to_prior(loc, log_scale).sum(1)

    for step in range(1, settings.steps + 1):
        optimizer.zero_grad()
        (-bound(settings.samples).sum()).backward()
        optimizer.step()
        if step % EVERY == 0:
            with torch.no_grad():
                reached[(bound(check) >= target) & (reached < 0)] = step
            if (reached > 0).all():
                break
    return Price(reached, settings.steps, flops(model.encoder), 2 * settings.samples * flops(model.decoder))
