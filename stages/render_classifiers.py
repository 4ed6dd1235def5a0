"""Stage render_classifiers: the figures of both classifiers: their training and their predictions."""

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from elbo.determinism import prepare
from elbo.models.classifier import Classifier
from pages.figures import write_figures
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
    """The points, the curves, and the surface of probability before and after training."""
    data = dataset.load("data/annuli.npz")
    points, labels = data.features["train"], data.labels["train"]
    before, after = (
        Classifier.from_weights(*read_weights(f"models/classifier/{name}.safetensors"))
        for name in ("annuli_untrained", "annuli")
    )
    surfaces = [("before training", surface(before)), ("after training", surface(after))]
    training = read_csv(f"{REPORTS}/annuli/training.csv")
    full = batch_size >= len(points)
    return {
        "data": plots.points(points, labels, data.classes),
        "curves": plots.curves(training, "Classifying the annuli", data.title, steps=full),
        "probability": plots.probability(surfaces, EXTENT, points, labels, data.classes),
    }


def images() -> dict[str, Figure]:
    """The curves of training and the confusion matrix."""
    data = dataset.load("data/binarized.npz")
    training, names = read_csv(f"{REPORTS}/images/training.csv"), list(data.classes)
    table = read_csv(f"{REPORTS}/images/predictions.csv", dtype=str)
    counts = pd.crosstab(table["actual"], table["predicted"]).reindex(names, columns=names, fill_value=0)
    return {
        "curves": plots.curves(training, "Classifying the binarized images", f"binarized {data.title}"),
        "confusion": plots.confusion(
            counts.to_numpy(), data.classes, "classifier.images, a network on the pixels", data.title
        ),
    }


@torch.no_grad()
def surface(model: Classifier) -> np.ndarray:
    """p(positive|x) on a square grid, (GRID, GRID); x_2 increases with the row."""
    line = torch.linspace(-EXTENT, EXTENT, GRID)
    plane = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).flatten(0, 1)
    return model.probabilities(plane)[:, 1].reshape(GRID, GRID).numpy()
