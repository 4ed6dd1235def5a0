"""Stage render_comparison: the figures that show all variants of the VAE beside each other."""

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from elbo.analysis.critique import binarized, judge
from elbo.determinism import prepare, stream
from elbo.models.classifier import Classifier
from elbo.models.vae import VAE
from pages.figures import write_figures
from pages.names import dataset_title, is_searched
from plots import classifier, critique, differences, likelihood
from plots import vae as plots
from stages.schema import Params
from workflow.core import dataset
from workflow.core.arrays import read_npz
from workflow.core.files import read_json
from workflow.core.params import load
from workflow.core.tables import read_csv
from workflow.core.weights import read_weights
from workflow.runs.console import say

FOLDER = "reports/figures/comparison"
GRID, EXTENT = 150, 3.0  # latents a side that the classifier judges; three standard deviations of the prior


def main() -> None:
    compute, settings, variants, sure, k = load(
        Params, "compute", "figures", "vae", "critique.sure", "latents.neighbours"
    )
    prepare(compute.threads)
    data = dataset.load("data/binarized.npz")
    title, names, images = dataset_title(data.name, data.fallback_for), data.classes, data.inputs("test")
    models = {name: VAE.from_weights(*read_weights(f"models/vae/{name}.safetensors")) for name in variants}
    means = {name: model.encoder(images).mean for name, model in models.items()}
    notebook = read_csv("data/notebook_elbo.csv") if data.name == "mnist" else None

    def tables(file: str) -> dict[str, pd.DataFrame]:
        return {name: read_csv(f"reports/vae/{name}/{file}.csv", dtype={"class": str}) for name in variants}

    confusions = {
        name: table.drop(columns="class").to_numpy() for name, table in tables("latents_confusion").items()
    }
    chosen = torch.randperm(len(images), generator=stream(settings.seed, "digits"))[: settings.digits]
    digits = [names[label] for label in data.labels["test"][chosen.numpy()]]
    rebuilt = {name: model.decode(means[name][chosen]).numpy() for name, model in models.items()}
    method = f"{title}, classified by their {k} nearest neighbours in the plane"
    figures = {
        "elbo": plots.elbo_curves(tables("training"), notebook, title),
        "reconstructions": plots.reconstructions(images[chosen].numpy(), rebuilt, digits, title),
        "gaps": likelihood.decomposition(tables("likelihood_by_class"), title),
        "critique": critique.by_class(tables("critique_by_class"), title),
        "neighbours": classifier.confusion(confusions, names, method),
        "regions": critique.regions(regions(models), names, EXTENT, sure, title),
        **of_likelihood({name: points.numpy() for name, points in means.items()}, images.numpy(), title),
    }
    if len(models) > 1:
        figures["gains"] = differences.gains(read_json("reports/vae_differences.json"), title)
    search = read_csv("data/search.csv")
    first = {str(key): value for key, value in search.iloc[0].items()}
    if data.name == "mnist" and "tuned" in variants and is_searched(variants["tuned"].model_dump(), first):
        about = f"{first['images']:,} held-out training images of {title}, {first['epochs']} epochs each"
        figures["search"] = differences.search(search, about)
    write_figures(FOLDER, figures)
    say(f"{len(figures)} figures in {FOLDER}")


def of_likelihood(means: dict[str, np.ndarray], images: np.ndarray, title: str) -> dict[str, Figure]:
    """The bounds, gaps and posteriors of test images, by variant, and the map of their log p(x)."""
    ladders, maps, rows = {}, {}, {}
    gaps: dict[str, dict[str, np.ndarray]] = {"test": {}, "train": {}}
    for name, points in means.items():
        elbo, exact = (
            read_json(f"reports/vae/{name}/{file}.json")["test"] for file in ("elbo", "likelihood")
        )
        bounds, arrays = (read_npz(f"data/{kind}/{name}.npz") for kind in ("elbo", "likelihood"))
        scored = bounds["index_test"]
        ladders[name] = likelihood.ladder(elbo, exact)
        maps[name] = points[scored], arrays["log_likelihood_test"]
        rows[name] = likelihood.panels(arrays, images[scored])
        for split, found in gaps.items():
            found[name] = arrays[f"log_likelihood_{split}"] - bounds[f"elbo_{split}"]
    return {
        "bounds": likelihood.bounds(ladders, title),
        "gap_distribution": likelihood.gap_distribution(gaps, title),
        "likelihood": likelihood.likelihood_maps(maps, EXTENT, title),
        "posteriors": likelihood.posteriors(rows, title),
    }


def regions(models: dict[str, VAE]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By variant, the class of the decoded image at (GRID, GRID) latents and the classifier's confidence."""
    classifier_of_images = Classifier.from_weights(*read_weights("models/classifier/images.safetensors"))
    line = torch.linspace(-EXTENT, EXTENT, GRID)
    latents = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).flatten(0, 1)
    found = {}
    for name, model in models.items():
        seen = judge(classifier_of_images, binarized(model.decode(latents)))
        found[name] = (seen.label.reshape(GRID, GRID).numpy(), seen.confidence.reshape(GRID, GRID).numpy())
    return found
