"""Stage render_vae@VARIANT: the plane of latents, the samples and the lines of a trained VAE."""

import pandas as pd
import torch

from elbo.determinism import prepare
from elbo.models.vae import VAE
from pages.figures import write_figures
from pages.names import dataset_title
from plots import vae as plots
from stages.schema import Params
from workflow.core import dataset
from workflow.core.arrays import read_npz
from workflow.core.params import load
from workflow.core.tables import read_csv
from workflow.core.weights import read_weights
from workflow.runs.console import say

GRID, EXTENT = 10, 3.0  # decoded images a side; three standard deviations of the prior
NAMES = {"verdict": str, "first": str, "second": str}  # of classes: "7" is not a number


def main(variant: str) -> None:
    compute, settings = load(Params, "compute", "figures")
    prepare(compute.threads)
    data = dataset.load("data/binarized.npz")
    title = dataset_title(data.name, data.fallback_for)
    model = VAE.from_weights(*read_weights(f"models/vae/{variant}.safetensors"))

    def table(name: str) -> pd.DataFrame:
        return read_csv(f"reports/vae/{variant}/{name}.csv", dtype=NAMES)

    means = model.encoder(data.inputs("test")).mean.numpy()
    line = EXTENT * (1 - 1 / GRID) * torch.linspace(-1, 1, GRID)  # the centres of cells
    latents = torch.stack(torch.meshgrid(line, -line, indexing="xy"), dim=-1).flatten(0, 1)
    decoded = model.decode(latents).numpy()
    labels, names = data.labels["test"], data.classes
    figures = {
        "plane": plots.plane(means, labels, names, table("latents_pairs"), decoded, EXTENT, variant, title)
    }
    for name, csv, columns, about in (
        ("samples", "samples", settings.grid, "decoded samples of the prior"),
        ("lines", "interpolation_lines", settings.steps, "images on straight lines"),
    ):
        images = read_npz(f"data/{name}/{variant}.npz")["probabilities"]
        heading = f"{variant}: {len(images)} {about}"
        figures[name] = plots.verdicts(images, table(csv), columns, heading, title)
    write_figures(f"reports/figures/vae/{variant}", figures)
    say(f"{variant}: {len(figures)} figures in reports/figures/vae/{variant}")
