"""Stage render_annuli: the annuli, and what the classifier made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from elbo.classifier import Classifier
from elbo.determinism import prepare
from pipeline import dataset
from pipeline.console import run, say
from pipeline.files import read_weights, write_figure
from pipeline.params import load
from plots import classifier as plots
from stages.schema import Params

GRID, EXTENT = 200, 6.0  # points a side of the surface of probability, as in the notebook


def main() -> None:
    compute, settings = load(Params, "compute", "classifier.annuli")
    prepare(compute.threads)
    data = dataset.load("data/annuli.npz")
    points, labels = data.features["train"], data.labels["train"]
    init = torch.Generator().manual_seed(settings.seed)
    before = Classifier(data.width, settings.hidden, len(data.classes), settings.activation, init)
    weights = read_weights("models/classifier/annuli.safetensors")
    after = Classifier.from_weights(weights, settings.activation)
    surfaces = [("before training", surface(before)), ("after training", surface(after))]
    training = pd.read_csv("reports/classifier/annuli/training.csv")
    full = settings.batch_size >= len(points)
    figures = {
        "data": plots.points(points, labels, data.classes),
        "curves": plots.curves(training, "Classifying the annuli", data.title, steps=full),
        "probability": plots.probability(surfaces, EXTENT, points, labels, data.classes),
    }
    for what, figure in figures.items():
        write_figure(Path("reports/figures", f"classifier_annuli_{what}.png"), figure)
    say(f"annuli: {len(figures)} figures in reports/figures/classifier_annuli_*.png")


@torch.no_grad()
def surface(model: Classifier) -> np.ndarray:
    """p(positive|x) over a square, (GRID, GRID), x_2 rising by row."""
    line = torch.linspace(-EXTENT, EXTENT, GRID)
    plane = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).flatten(0, 1)
    return model.probabilities(plane)[:, 1].reshape(GRID, GRID).numpy()


if __name__ == "__main__":
    run(main)
