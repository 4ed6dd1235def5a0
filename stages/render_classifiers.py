"""Stage render_classifiers: how one classifier learned, and what both predict."""

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from elbo.determinism import prepare
from elbo.models.classifier import Classifier
from pages.figures import write_figures
from pages.names import dataset_title
from plots import classifier as plots
from stages.schema import Params
from workflow.core import dataset
from workflow.core.params import load
from workflow.core.tables import read_csv
from workflow.core.weights import read_weights
from workflow.runs.console import say

GRID, EXTENT = 200, 6.0  # points per side of the surface of probability, as in the notebook
REPORTS = "reports/classifier"


def main() -> None:
    compute, batch_size = load(Params, "compute", "classifier.annuli.batch_size")
    prepare(compute.threads)
    for name, figures in (("annuli", annuli(batch_size)), ("images", images())):
        write_figures(f"reports/figures/classifier/{name}", figures)
        say(f"{name}: {len(figures)} figures in reports/figures/classifier/{name}")


def annuli(batch_size: int) -> dict[str, Figure]:
    """The curves, and the surface of probability before and after training, with the points."""
    data = dataset.load("data/annuli.npz")
    points, labels = data.features["train"], data.labels["train"]
    surfaces = {
        title: surface(Classifier.from_weights(*read_weights(f"models/classifier/{name}.safetensors")))
        for title, name in (("before training", "annuli_untrained"), ("after training", "annuli"))
    }
    training = read_csv(f"{REPORTS}/annuli/training.csv")
    full = batch_size >= len(points)
    return {
        "curves": plots.curves(training, f"{len(points):,} points", steps=full),
        "probability": plots.probability(surfaces, EXTENT, points, labels, data.classes),
    }


def images() -> dict[str, Figure]:
    """The confusion matrix; nothing without labels."""
    data = dataset.load("data/binarized.npz")
    if not data.labelled:
        return {}
    names = list(data.classes)
    table = read_csv(f"{REPORTS}/images/predictions.csv", dtype=str)
    counts = pd.crosstab(table["actual"], table["predicted"]).reindex(names, columns=names, fill_value=0)
    title = dataset_title(data.name, data.fallback_for)
    return {"confusion": plots.confusion({"classifier.images": counts.to_numpy()}, names, title)}


@torch.no_grad()
def surface(model: Classifier) -> np.ndarray:
    """p(positive|x) on a square grid, (GRID, GRID); x_2 increases with the row."""
    line = torch.linspace(-EXTENT, EXTENT, GRID)
    plane = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).flatten(0, 1)
    return model.probabilities(plane)[:, 1].reshape(GRID, GRID).numpy()
