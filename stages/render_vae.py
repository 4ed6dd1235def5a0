"""Stage render_vae@VARIANT: the figures of a trained VAE."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from elbo.determinism import prepare, stream
from elbo.vae import VAE, from_prior, straight_lines
from pipeline import dataset
from pipeline.console import argument, run, say
from pipeline.files import read_weights, write_figure
from pipeline.params import load
from plots import vae as plots
from stages.schema import Params

GRID, EXTENT = (
    21,
    3.0,
)  # latents a side of the decoded plane; three standard deviations of the prior


def main() -> None:
    variant = argument("variant of vae")
    compute, settings, activation = load(Params, "compute", "figures", f"vae.{variant}.activation")
    prepare(compute.threads)
    data = dataset.load("data/binarized.npz")
    model = VAE.from_weights(read_weights(Path("models/vae", f"{variant}.safetensors")), activation)
    images, labels = data.inputs("test"), data.labels["test"]

    def decode(z: torch.Tensor) -> np.ndarray:
        return model.decode(z).numpy()

    def normal(purpose: str, count: int) -> torch.Tensor:
        return from_prior(count, stream(settings.seed, purpose))

    means = model.encoder(images)[0]
    chosen = torch.randperm(len(images), generator=stream(settings.seed, "digits"))[: settings.digits]
    names = [data.classes[label] for label in labels[chosen.numpy()]]
    line = torch.linspace(-EXTENT, EXTENT, GRID)
    plane = torch.stack(torch.meshgrid(line, -line, indexing="xy"), dim=-1).flatten(0, 1)
    starts, ends = (normal(f"interpolation {end}", settings.rows) for end in ("starts", "ends"))
    paths = straight_lines(starts, ends, settings.steps).flatten(0, 1)
    training = pd.read_csv(Path("reports/vae", variant, "training.csv"))
    notebook = pd.read_csv("data/notebook_elbo.csv") if data.name == "mnist" else None
    title, samples = data.title, decode(normal("samples", settings.grid**2))
    figures = {
        "reconstructions": plots.reconstructions(
            images[chosen].numpy(), decode(means[chosen]), names, variant, title
        ),
        "elbo": plots.elbo_curves(training, notebook, variant, title),
        "samples": plots.samples(samples, settings.grid, variant, title),
        "latent_means": plots.latent_means(means.numpy(), labels, data.classes, variant, title),
        "latent_grid": plots.latent_grid(decode(plane), EXTENT, variant, title),
        "interpolations": plots.interpolations(decode(paths), settings.steps, variant, title),
    }
    for name, figure in figures.items():
        write_figure(Path("reports/figures", f"vae_{variant}_{name}.png"), figure)
    say(f"{variant}: {len(figures)} figures in reports/figures/vae_{variant}_*.png")


if __name__ == "__main__":
    run(main)
