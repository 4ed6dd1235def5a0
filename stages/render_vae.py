"""Stage render_vae@VARIANT: the figures of a trained VAE and of its evaluation."""

import pandas as pd
import torch

from elbo.determinism import prepare, stream
from elbo.models.vae import VAE
from pages.figures import write_figures
from plots import classifier, critique, likelihood
from plots import vae as plots
from stages.schema import Params
from workflow.core import dataset
from workflow.core.arrays import read_npz
from workflow.core.files import read_json
from workflow.core.params import load
from workflow.core.tables import read_csv
from workflow.core.weights import read_weights
from workflow.runs.console import say

GRID, EXTENT = 21, 3.0  # latents per side of the decoded plane; three standard deviations of the prior
NAMES = {"class": str, "verdict": str, "first": str, "second": str}  # of classes: "7" is not a number


def main(variant: str) -> None:
    compute, settings, k = load(Params, "compute", "figures", "latents.neighbours")
    prepare(compute.threads)
    data = dataset.load("data/binarized.npz")
    model = VAE.from_weights(*read_weights(f"models/vae/{variant}.safetensors"))
    images, labels, names, about = data.inputs("test"), data.labels["test"], data.classes, data.title
    report = f"reports/vae/{variant}"

    def table(name: str) -> pd.DataFrame:
        return read_csv(f"{report}/{name}.csv", dtype=NAMES)

    notebook = read_csv("data/notebook_elbo.csv") if data.name == "mnist" else None
    latents = model.encoder(images).mean
    means = latents.numpy()
    chosen = torch.randperm(len(images), generator=stream(settings.seed, "digits"))[: settings.digits]
    digits = [names[label] for label in labels[chosen.numpy()]]
    line = torch.linspace(-EXTENT, EXTENT, GRID)
    plane = torch.stack(torch.meshgrid(line, -line, indexing="xy"), dim=-1).flatten(0, 1)
    samples, paths = (
        read_npz(f"data/{kind}/{variant}.npz")["probabilities"] for kind in ("samples", "lines")
    )
    figures = {
        "reconstructions": plots.reconstructions(
            images[chosen].numpy(), model.decode(latents[chosen]).numpy(), digits, variant, about
        ),
        "elbo": plots.elbo_curves(table("training"), notebook, variant, about),
        "samples": plots.samples(samples, settings.grid, variant, about),
        "latent_means": plots.latent_means(means, labels, names, variant, about),
        "latent_grid": plots.latent_grid(model.decode(plane).numpy(), EXTENT, variant, about),
        "interpolations": plots.interpolations(paths, settings.steps, variant, about),
    }
    text = f"Samples and the judge's verdicts: {variant}"
    figures["verdicts"] = critique.verdicts(samples, table("samples"), settings.grid, text, about)
    text = f"Samples and reconstructions by class: {variant}"
    figures["critique"] = critique.by_class(table("critique_by_class"), text, about)
    counts = table("latents_confusion").drop(columns="class").to_numpy()
    method = f"{k} nearest neighbours in the latent plane of {variant}"
    figures["neighbours"] = classifier.confusion(counts, names, method, about)
    text = f"Where classes overlap in the plane: {variant}"
    figures["overlaps"] = critique.overlaps(means, labels, names, table("latents_pairs"), text, about)
    text = f"Straight lines and the judge's verdicts: {variant}"
    lines = table("interpolation_lines")
    figures["line_verdicts"] = critique.verdicts(paths, lines, settings.steps, text, about)
    text = f"Lines between pairs of classes: {variant}"
    figures["line_pairs"] = critique.pair_matrix(table("interpolation_pairs"), names, text, about)
    arrays, bounds = (read_npz(f"data/{kind}/{variant}.npz") for kind in ("likelihood", "elbo"))
    scored = bounds["index_test"]
    elbo, exact = (read_json(f"{report}/{name}.json")["test"] for name in ("elbo", "likelihood"))
    panels = likelihood.panels(arrays, images.numpy()[scored])
    text = f"Exact posteriors and their Gaussians: {variant}"
    figures["posteriors"] = likelihood.posteriors(panels, text, about)
    text = f"The inference gap by class: {variant}"
    figures["gaps"] = likelihood.decomposition(table("likelihood_by_class"), text, about)
    text = f"How the inference gap spreads over images: {variant}"
    spread = {
        split: arrays[f"log_likelihood_{split}"] - bounds[f"elbo_{split}"] for split in ("test", "train")
    }
    figures["gap_distribution"] = likelihood.gap_distribution(spread, text, about)
    text, values = f"log p(x) of the test images: {variant}", arrays["log_likelihood_test"]
    figures["likelihood"] = likelihood.likelihood_map(means[scored], values, text, about)
    text = f"Bounds of the log-likelihood: {variant}"
    figures["bounds"] = likelihood.bounds(likelihood.ladder(elbo, exact), text, about)
    write_figures(f"reports/figures/vae/{variant}", figures)
    say(f"{variant}: {len(figures)} figures in reports/figures/vae/{variant}")
