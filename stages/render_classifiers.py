"""Stage render_classifiers: how both classifiers learned, and what they make of their data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from elbo.classifier import Classifier
from elbo.determinism import prepare
from pipeline import dataset
from pipeline.console import run, say
from pipeline.params import load
from pipeline.pictures import write_figure
from pipeline.tables import read_csv
from pipeline.weights import read_weights
from plots import classifier as plots
from stages import schema

GRID, EXTENT = 200, 6.0  # points a side of the surface of probability, as in the notebook
REPORTS = Path("reports/classifier")


def main() -> None:
    compute, of_annuli = load(schema.Params, "compute", "classifier.annuli")
    prepare(compute.threads)
    for name, figures in (("annuli", annuli(of_annuli)), ("images", images())):
        for what, figure in figures.items():
            write_figure(Path("reports/figures", f"classifier_{name}_{what}.png"), figure)
        say(f"{name}: {len(figures)} figures, reports/figures/classifier_{name}_*.png")


def annuli(settings: schema.Classifier) -> dict[str, Figure]:
    """The points, the curves, and the surface of probability before and after training."""
    data = dataset.load("data/annuli.npz")
    points, labels = data.features["train"], data.labels["train"]
    init = torch.Generator().manual_seed(settings.seed)
    before = Classifier(data.width, settings.hidden, len(data.classes), settings.activation, init)
    weights = read_weights("models/classifier/annuli.safetensors")
    after = Classifier.from_weights(weights, settings.activation)
    surfaces = [("before training", surface(before)), ("after training", surface(after))]
    training = read_csv(REPORTS / "annuli/training.csv")
    full = settings.batch_size >= len(points)
    return {
        "data": plots.points(points, labels, data.classes),
        "curves": plots.curves(training, "Classifying the annuli", data.title, steps=full),
        "probability": plots.probability(surfaces, EXTENT, points, labels, data.classes),
    }


def images() -> dict[str, Figure]:
    """The curves, and what is taken for what."""
    data = dataset.load("data/binarized.npz")
    training = read_csv(REPORTS / "images/training.csv")
    table = read_csv(REPORTS / "images/predictions.csv", dtype=str)
    names = list(data.classes)
    counts = pd.crosstab(table["actual"], table["predicted"]).reindex(names, columns=names, fill_value=0)
    return {
        "curves": plots.curves(training, "Classifying the binarized images", f"binarized {data.title}"),
        "confusion": plots.confusion(
            counts.to_numpy(), data.classes, "classifier.images, a network on the pixels", data.title
        ),
    }


@torch.no_grad()
def surface(model: Classifier) -> np.ndarray:
    """p(positive|x) over a square, (GRID, GRID), x_2 rising by row."""
    line = torch.linspace(-EXTENT, EXTENT, GRID)
    plane = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).flatten(0, 1)
    return model.probabilities(plane)[:, 1].reshape(GRID, GRID).numpy()


if __name__ == "__main__":
    run(main)
