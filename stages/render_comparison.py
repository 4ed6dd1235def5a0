"""Stage render_comparison: the figures that show all variants of the VAE beside each other."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from elbo.analysis.critique import regions
from elbo.determinism import prepare, stream
from elbo.models.classifier import Classifier
from elbo.models.vae import VAE
from pages.figures import write_figures
from pages.names import dataset_title, is_searched
from plots import classifier, critique, differences, estimates, likelihood
from plots import vae as plots
from stages.schema import Params
from workflow.core import dataset
from workflow.core.arrays import read_npz
from workflow.core.dataset import Dataset
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
    planes = {name: model for name, model in models.items() if model.latent == 2}
    wide = [name for name in models if name not in planes]
    means = {name: model.encoder(images).mean for name, model in models.items()}
    notebook = read_csv("data/notebook_elbo.csv") if data.name == "mnist" else None
    chosen = torch.randperm(len(images), generator=stream(settings.seed, "digits"))[: settings.digits]
    digits = [names[label] for label in data.labels["test"][chosen.numpy()]] if data.labelled else []
    rebuilt = {name: model.decode(means[name][chosen]).numpy() for name, model in models.items()}
    figures = {
        "elbo": plots.elbo_curves(tables(models, "training"), notebook, title),
        "reconstructions": plots.reconstructions(images[chosen].numpy(), rebuilt, digits, data.shape, title),
        "families": estimates.families(tables(models, "families", "test"), wide, title),
        **of_likelihood({name: points.numpy() for name, points in means.items()}, wide, data, title),
    }
    if wide:
        figures["estimators"] = estimates.estimators(tables(wide, "estimators", "test"), title)
    if data.labelled:
        place = "among the latents" if wide else "in the plane"
        counts = tables(models, "latents_confusion").items()
        confusions = {name: table.drop(columns="class").to_numpy() for name, table in counts}
        figures["critique"] = critique.by_class(tables(models, "critique_by_class"), title)
        figures["neighbours"] = classifier.confusion(
            confusions, names, f"{title}, classified by their {k} nearest neighbours {place}"
        )
        if planes:
            figures["gaps"] = likelihood.decomposition(tables(planes, "likelihood_by_class"), title)
            judge = Classifier.from_weights(*read_weights("models/classifier/images.safetensors"))
            seen = {name: regions(model, judge, EXTENT, GRID) for name, model in planes.items()}
            figures["regions"] = critique.regions(seen, names, EXTENT, sure, title)
    if len(models) > 1:
        figures["gains"] = differences.gains(read_json("reports/vae_differences.json"), title)
    search = read_csv("data/search.csv")
    first = {str(key): value for key, value in search.iloc[0].items()}
    if data.name == "mnist" and "tuned" in variants and is_searched(variants["tuned"].model_dump(), first):
        about = f"{first['images']:,} held-out training images of {title}, {first['epochs']} epochs each"
        figures["search"] = differences.search(search, about)
    write_figures(FOLDER, figures)
    say(f"{len(figures)} figures in {FOLDER}")


def tables(variants: Iterable[str], file: str, split: str | None = None) -> dict[str, pd.DataFrame]:
    """By variant, a table of its report, or the rows of one split."""
    found = {name: read_csv(f"reports/vae/{name}/{file}.csv", dtype={"class": str}) for name in variants}
    return found if split is None else {name: table[table["split"] == split] for name, table in found.items()}


def of_likelihood(
    means: dict[str, np.ndarray], wide: Sequence[str], data: Dataset, title: str
) -> dict[str, Figure]:
    """The bounds and gaps by variant; of those with a plane, posteriors and the map of their log p(x).

    Args:
        wide: the variants without a plane, whose log p(x) is a lower bound.
    """
    ladders, maps, rows = {}, {}, {}
    gaps: dict[str, dict[str, np.ndarray]] = {"test": {}, "train": {}}
    images = data.inputs("test").numpy()
    for name, points in means.items():
        elbo, found = (
            read_json(f"reports/vae/{name}/{file}.json")["test"] for file in ("elbo", "likelihood")
        )
        bounds, arrays = (read_npz(f"data/{kind}/{name}.npz") for kind in ("elbo", "likelihood"))
        scored = bounds["index_test"]
        if name in wide:  # the bound of the same images as the others, and not the best one, of a few
            found = {"log_likelihood": arrays["log_likelihood_test"].mean()}
        ladders[name] = estimates.ladder(elbo, found, exact=name not in wide)
        if name not in wide:
            maps[name] = points[scored], arrays["log_likelihood_test"]
            rows[name] = likelihood.panels(arrays, images[scored], data.shape)
        for split, values in gaps.items():
            values[name] = arrays[f"log_likelihood_{split}"] - bounds[f"elbo_{split}"]
    figures = {
        "bounds": estimates.bounds(ladders, title),
        "gap_distribution": likelihood.gap_distribution(gaps, title, bounded=bool(wide)),
    }
    if rows:
        figures["likelihood"] = likelihood.likelihood_maps(maps, EXTENT, title)
        figures["posteriors"] = likelihood.posteriors(rows, title)
    return figures
