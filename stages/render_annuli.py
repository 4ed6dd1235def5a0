"""Stage render_annuli: how the classifier of the annuli learned, and its probabilities over the plane."""

import numpy as np
import torch

from elbo.determinism import prepare
from elbo.models.classifier import Classifier
from pages.figures import write_figures
from plots import exercises as plots
from stages.schema import Params
from workflow.core import dataset
from workflow.core.params import load
from workflow.core.tables import read_csv
from workflow.core.weights import read_weights
from workflow.runs.console import say

GRID, EXTENT = 200, 6.0  # points per side of the surface of probability, as in the notebook
FIGURES = "reports/figures/classifier/annuli"


def main() -> None:
    compute, batch_size = load(Params, "compute", "classifier.annuli.batch_size")
    prepare(compute.threads)
    data = dataset.load("data/annuli.npz")
    points, labels = data.features["train"], data.labels["train"]
    surfaces = {
        title: surface(Classifier.from_weights(*read_weights(f"models/classifier/{name}.safetensors")))
        for title, name in (("before training", "annuli_untrained"), ("after training", "annuli"))
    }
    training = read_csv("reports/classifier/annuli/training.csv")
    full = batch_size >= len(points)
    figures = {
        "curves": plots.curves(training, f"{len(points):,} points", steps=full),
        "probability": plots.probability(surfaces, EXTENT, points, labels, data.classes),
    }
    write_figures(FIGURES, figures)
    say(f"{len(figures)} figures in {FIGURES}")


@torch.no_grad()
def surface(model: Classifier) -> np.ndarray:
    """p(positive|x) on a square grid, (GRID, GRID); x_2 increases with the row."""
    line = torch.linspace(-EXTENT, EXTENT, GRID)
    plane = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).flatten(0, 1)
    return model.probabilities(plane)[:, 1].reshape(GRID, GRID).numpy()
