"""Stage render_vae@VARIANT: the figures of a trained VAE, and of all that was measured of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from elbo.determinism import prepare, stream
from elbo.vae import VAE, from_prior, straight_lines
from pipeline import dataset
from pipeline.arrays import read_npz
from pipeline.console import argument, run, say
from pipeline.files import read_json
from pipeline.params import load
from pipeline.pictures import write_figure
from pipeline.tables import read_csv
from pipeline.weights import read_weights
from plots import classifier, critique, likelihood
from plots import vae as plots
from stages.schema import Params

GRID, EXTENT = 21, 3.0  # latents a side of the decoded plane; three standard deviations of the prior
NAMES = {"class": str, "verdict": str, "first": str, "second": str}  # of classes: "7" is no number


def main() -> None:
    variant = argument("variant of vae")
    compute, settings, activation, k = load(
        Params, "compute", "figures", f"vae.{variant}.activation", "latents.neighbours"
    )
    prepare(compute.threads)
    data = dataset.load("data/binarized.npz")
    model = VAE.from_weights(read_weights(Path("models/vae", f"{variant}.safetensors")), activation)
    images, labels, names, about = data.inputs("test"), data.labels["test"], data.classes, data.title
    report = Path("reports/vae", variant)

    def decode(z: torch.Tensor) -> np.ndarray:
        return model.decode(z).numpy()

    def normal(purpose: str, count: int) -> torch.Tensor:
        return from_prior(count, stream(settings.seed, purpose))

    def table(name: str) -> pd.DataFrame:
        return read_csv(report / f"{name}.csv", dtype=NAMES)

    def title(text: str) -> str:
        return f"{text}: {variant}"

    notebook = read_csv("data/notebook_elbo.csv") if data.name == "mnist" else None
    latents = model.encoder(images)[0]
    means = latents.numpy()
    chosen = torch.randperm(len(images), generator=stream(settings.seed, "digits"))[: settings.digits]
    digits = [names[label] for label in labels[chosen.numpy()]]
    line = torch.linspace(-EXTENT, EXTENT, GRID)
    plane = torch.stack(torch.meshgrid(line, -line, indexing="xy"), dim=-1).flatten(0, 1)
    samples = decode(normal("samples", settings.grid**2))
    starts, ends = (normal(f"interpolation {end}", settings.rows) for end in ("starts", "ends"))
    paths = decode(straight_lines(starts, ends, settings.steps).flatten(0, 1))
    figures = {
        "reconstructions": plots.reconstructions(
            images[chosen].numpy(), decode(latents[chosen]), digits, variant, about
        ),
        "elbo": plots.elbo_curves(table("training"), notebook, variant, about),
        "samples": plots.samples(samples, settings.grid, variant, about),
        "latent_means": plots.latent_means(means, labels, names, variant, about),
        "latent_grid": plots.latent_grid(decode(plane), EXTENT, variant, about),
        "interpolations": plots.interpolations(paths, settings.steps, variant, about),
    }
    text = title("Samples and the judge's verdicts")
    figures["verdicts"] = critique.verdicts(samples, table("samples"), settings.grid, text, about)
    text = title("Samples and reconstructions by class")
    figures["critique"] = critique.by_class(table("critique_by_class"), text, about)
    counts = table("latents_confusion").drop(columns="class").to_numpy()
    method = f"{k} nearest neighbours in the latent plane of {variant}"
    figures["neighbours"] = classifier.confusion(counts, names, method, about)
    text = title("Where classes overlap in the plane")
    figures["overlaps"] = critique.overlaps(means, labels, names, table("latents_pairs"), text, about)
    text = title("Straight lines and the judge's verdicts")
    lines = table("interpolation_lines")
    figures["line_verdicts"] = critique.verdicts(paths, lines, settings.steps, text, about)
    text = title("Lines between pairs of classes")
    figures["line_pairs"] = critique.pair_matrix(table("interpolation_pairs"), names, text, about)
    arrays = read_npz(Path("data/likelihood", f"{variant}.npz"))
    each = read_npz(Path("data/elbo", f"{variant}.npz"))
    scored = each["index_test"]
    elbo, exact = (read_json(report / f"{name}.json")["test"] for name in ("elbo", "likelihood"))
    panels = likelihood.panels(arrays, images.numpy()[scored])
    text = title("Exact posteriors and their Gaussians")
    figures["posteriors"] = likelihood.posteriors(panels, text, about)
    text = title("The inference gap by class")
    figures["gaps"] = likelihood.decomposition(table("likelihood_by_class"), text, about)
    text = title("How the inference gap spreads over images")
    spread = {split: arrays[f"log_likelihood_{split}"] - each[f"elbo_{split}"] for split in ("test", "train")}
    figures["gap_distribution"] = likelihood.gap_distribution(spread, text, about)
    text = title("log p(x) of the test images")
    values = arrays["log_likelihood_test"]
    figures["likelihood"] = likelihood.likelihood_map(means[scored], values, text, about)
    text = title("Bounds of the log-likelihood")
    figures["bounds"] = likelihood.bounds(likelihood.ladder(elbo, exact), text, about)

    for what, figure in figures.items():
        write_figure(Path("reports/figures", f"vae_{variant}_{what}.png"), figure)
    say(f"{variant}: {len(figures)} figures, reports/figures/vae_{variant}_*.png")


if __name__ == "__main__":
    run(main)
