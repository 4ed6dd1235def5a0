"""Seconds of the exact log-likelihood and of the gaps, beside the plain dense sum over the same grid."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from elbo import gaps
from elbo.determinism import prepare, stream
from elbo.grid import Grid
from elbo.likelihood import boxes_around, evaluate
from elbo.price import price
from elbo.quadrature import integrate
from elbo.vae import VAE, Decoder
from pipeline import dataset
from pipeline.console import run
from pipeline.params import load
from pipeline.weights import read_weights
from stages.schema import Params

T = TypeVar("T")
DENSE = 500  # images that the peer takes; its time is proportional
NODES = 4000  # latents that it decodes at once


def main() -> None:
    """Times the first variant of params.yaml on all test images; `make repro` must have trained it."""
    compute, vae, settings = load(Params, "compute", "vae", "evaluate_likelihood")
    prepare(compute.threads)
    name = next(iter(vae))
    model = VAE.from_weights(read_weights(Path("models/vae", f"{name}.safetensors")), vae[name].activation)
    x = dataset.load("data/binarized.npz").inputs("test")
    grid = Grid(settings.extent, settings.nodes)
    order = torch.randperm(len(x), generator=stream(settings.seed, "subset test"))
    subset = order[: settings.gap_images].sort().values
    seconds, exact = timed(lambda: integrate(model.decoder, x, grid))
    peer, dense = timed(lambda: dense_sum(model.decoder, x[:DENSE], grid))
    peer *= len(x) / DENSE
    worst = (exact.log_likelihood[:DENSE] - dense).abs().max().item()
    print(f"{f'log p(x) of {len(x)} images':<34} {seconds:>5.1f} s  dense sum / this {peer / seconds:.1f}")
    print(f"{'the dense sum, from its first 500':<34} {peer:>5.1f} s  largest difference {worst:.4f} nats")
    loc, log_scale = model.encoder(x[subset])
    windows = integrate(model.decoder, x, grid, boxes_around(subset, loc, log_scale.exp())).windows
    seconds, _ = timed(lambda: gaps.best(windows, loc, log_scale.exp()))
    print(f"{f'q* of {len(subset)} images, from their windows':<34} {seconds:>5.1f} s")
    whole, _ = timed(lambda: evaluate(model, x, grid, subset, settings.refined))
    print(f"{'log p(x) and gaps, all together':<34} {whole:>5.1f} s")
    few = x[: settings.price.images]
    passes, _ = timed(lambda: model.encoder(few))
    bound = torch.full((len(few),), math.inf)  # never reached: all steps are taken
    steps, _ = timed(lambda: price(model, few, bound, settings.price, stream(settings.seed, "price")))
    print(
        f"{f'inference for {len(few)} images':<34} {steps:>5.2f} s in {settings.price.steps} steps, "
        f"{1000 * passes:.1f} ms by the encoder\n"
    )


def timed(work: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


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
