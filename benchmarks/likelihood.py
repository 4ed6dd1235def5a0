"""Seconds of the exact log-likelihood and of the gaps, compared with a dense sum over the same grid."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from elbo.determinism import prepare, stream
from elbo.exact import gaps
from elbo.exact.ascent import boxes_around
from elbo.exact.grid import Grid
from elbo.exact.likelihood import evaluate
from elbo.exact.price import price
from elbo.exact.quadrature import integrate
from elbo.models.networks import Decoder
from elbo.models.vae import VAE
from stages.schema import Params
from workflow.core import dataset
from workflow.core.params import load
from workflow.core.weights import read_weights
from workflow.runs.console import run

T = TypeVar("T")
DENSE = 500  # images of the dense sum; its time is proportional
NODES = 4000  # latents that the dense sum decodes at once


def main() -> None:
    """Times the first variant of params.yaml on all test images; `make repro` must have trained it."""
    compute, vae, settings = load(Params, "compute", "vae", "evaluate_likelihood")
    prepare(compute.threads)
    name = next(iter(vae))
    model = VAE.from_weights(*read_weights(f"models/vae/{name}.safetensors"))
    x = dataset.load("data/binarized.npz").inputs("test")
    grid = Grid(settings.extent, settings.nodes)
    order = torch.randperm(len(x), generator=stream(settings.seed, "subset test"))
    subset = order[: settings.gap_images].sort().values
    seconds, exact = timed(lambda: integrate(model.decoder, x, grid))
    dense_s, dense = timed(lambda: dense_sum(model.decoder, x[:DENSE], grid))
    dense_s *= len(x) / DENSE
    worst = (exact.log_likelihood[:DENSE] - dense).abs().max().item()
    print(f"{f'log p(x) of {len(x)} images':<34} {seconds:>5.1f} s  dense sum / this {dense_s / seconds:.1f}")
    print(f"{'the dense sum, from its first 500':<34} {dense_s:>5.1f} s  largest difference {worst:.4f} nats")
    q = model.encoder(x[subset])
    windows = integrate(model.decoder, x, grid, boxes_around(subset, q.loc, q.scale)).windows
    seconds, _ = timed(lambda: gaps.best(windows, q.loc, q.scale))
    print(f"{f'q* of {len(subset)} images, from their windows':<34} {seconds:>5.1f} s")
    all_s, _ = timed(lambda: evaluate(model, x, grid, subset, settings.refined))
    print(f"{'log p(x) and gaps, all together':<34} {all_s:>5.1f} s")
    subset_x = x[: settings.price.images]
    encoder_s, _ = timed(lambda: model.encoder(subset_x))
    bound = torch.full((len(subset_x),), math.inf)  # never reached, so that all steps run
    limits = settings.price.samples, settings.price.steps, settings.price.lr
    steps_s, _ = timed(lambda: price(model, subset_x, bound, *limits, stream(settings.seed, "price")))
    print(
        f"{f'inference for {len(subset_x)} images':<34} {steps_s:>5.2f} s in {settings.price.steps} steps, "
        f"{1000 * encoder_s:.1f} ms by the encoder\n"
    )


def timed(work: Callable[[], T]) -> tuple[float, T]:
    started_at = time.perf_counter()
    result = work()
    return time.perf_counter() - started_at, result


@torch.no_grad()
def dense_sum(decoder: Decoder, x: Tensor, grid: Grid) -> Tensor:
    """(N,) log p(x): all nodes for all images, log-sum-exp by block of nodes."""
    line = grid.line(0, grid.nodes).float()
    total = torch.full((len(x),), -math.inf, dtype=torch.float64)
    for z in torch.cartesian_prod(line, line).split(NODES):
        logits = decoder(z)
        joint = x @ logits.T - F.softplus(logits).sum(1) - 0.5 * z.square().sum(1)
        total = torch.logaddexp(total, joint.double().logsumexp(1))
    return total + 2 * math.log(grid.spacing) - math.log(2 * math.pi)


if __name__ == "__main__":
    run(main)
