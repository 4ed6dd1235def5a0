"""The cost of inference: floating-point operations of the encoder against optimization image by image."""

import math
import statistics
from dataclasses import dataclass

import torch
from torch import Tensor

from elbo.bounds import log_likelihood
from elbo.models.networks import flops
from elbo.models.posteriors import DiagonalNormal
from elbo.models.vae import VAE

EVERY = 5  # steps between two evaluations of the bound, which the price does not include


@dataclass(frozen=True)
class Price:
    """The cost of N images."""

    steps: (
        Tensor  # (N,) gradient steps until the image's ELBO was measured as high as the encoder's; -1: never
    )
    limit: int  # steps after which optimization stopped
    encoder_flops: int  # per image and pass
    step_flops: int  # per image and step

    def summary(self) -> dict[str, float | None]:
        """The cost of all images, including those that never reached the encoder's ELBO.

        The median counts these last, and is None if it falls among them. `times_encoder_at_least` is the mean
        work over one pass of the encoder; these count as if the limit had been enough: a lower bound.
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


def price(
    model: VAE, x: Tensor, target: Tensor, samples: int, steps: int, lr: float, generator: torch.Generator
) -> Price:
    """Optimizes a Gaussian for each image (N, pixels), starting from the prior, without an encoder.

    Adam on mean and log scale, by reparametrized samples (Kingma and Welling 2014). The gradient is for the
    latent alone, so a step is `samples` forward and as many backward passes through the decoder, each with
    the same number of operations. Whatever the encoder's family: the price is that of the same bound by the
    usual mean-field inference, and images that no diagonal Gaussian can bring there count as never reached.

    Args:
        target: (N,) the ELBO to reach, nats.
        samples: of the posterior in each step.
        steps: limit after which optimization stops.
        lr: Adam's.
    """
    loc = torch.zeros(len(x), model.latent, requires_grad=True)
    log_scale = torch.zeros(len(x), model.latent, requires_grad=True)
    optimizer = torch.optim.Adam([loc, log_scale], lr=lr)
    reached = torch.full((len(x),), -1)

    def bound(count: int) -> Tensor:
        q = DiagonalNormal(loc, log_scale)
        z = q.sample(torch.randn(count, len(x), model.latent, generator=generator)).flatten(0, 1)
        likelihood = log_likelihood(model.decoder(z).unflatten(0, (count, len(x))), x)
        return likelihood.mean(0) - q.kl().sum(1)

    for step in range(1, steps + 1):
        optimizer.zero_grad()
        (-bound(samples).sum()).backward()
        optimizer.step()
        if step % EVERY == 0:
            with torch.no_grad():
                # with few samples, a bound is sometimes too high by chance
                reached[(bound(10 * samples) >= target) & (reached < 0)] = step
            if (reached > 0).all():
                break
    return Price(reached, steps, flops(model.encoder), 2 * samples * flops(model.decoder))
