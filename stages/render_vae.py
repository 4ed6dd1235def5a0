"""Stage render_vae@VARIANT: the latents, the samples and the lines of a trained VAE."""

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from elbo.determinism import prepare
from elbo.evaluation import ACTIVE
from elbo.models.vae import VAE
from pages.figures import write_figures
from pages.names import dataset_title
from plots import vae as plots
from stages.schema import Params
from workflow.core import dataset
from workflow.core.arrays import read_npz
from workflow.core.files import read_json
from workflow.core.params import load
from workflow.core.tables import read_csv
from workflow.core.weights import read_weights
from workflow.runs.console import say

EXTENT = 3.0  # standard deviations of the prior
NAMES = {"verdict": str, "first": str, "second": str}  # of classes: "7" is not a number


def main(variant: str) -> None:
    compute, settings = load(Params, "compute", "figures")
    prepare(compute.threads)
    data = dataset.load("data/binarized.npz")
    title = dataset_title(data.name, data.fallback_for)
    model = VAE.from_weights(*read_weights(f"models/vae/{variant}.safetensors"))

    def table(name: str) -> pd.DataFrame:
        return read_csv(f"reports/vae/{variant}/{name}.csv", dtype=NAMES)

    lines = read_npz(f"data/lines/{variant}.npz")
    samples = read_npz(f"data/samples/{variant}.npz")["probabilities"]
    means = model.encoder(data.inputs("test")).mean.numpy()
    labels, names, pairs = data.labels.get("test"), data.classes, table("latents_pairs")
    figures: dict[str, Figure] = {}
    if model.latent == 2:
        decoded = decode_plane(model)
        figures["plane"] = plots.plane(
            means, labels, names, pairs, decoded, data.shape, EXTENT, variant, title
        )
    else:
        points, shares = lines["points"], lines["shares"]
        figures["projection"] = plots.projection(points, shares, labels, names, pairs, variant, title)
        model_json = read_json(f"reports/vae/{variant}/model.json")
        if kl := model_json["test"]["kl_by_dimension"]:
            spread = model_json["variance_of_means"] or [None] * len(kl)  # None: of one image
            active = [None if variance is None else variance > ACTIVE for variance in spread]
            figures["units"] = plots.units(kl, active, variant, title)
    route = "straight lines" if model.latent == 2 else "great circles"
    for name, csv, columns, images, about in (
        ("samples", "samples", settings.grid, samples, "decoded samples of the prior"),
        ("lines", "interpolation_lines", settings.steps, lines["probabilities"], f"images on {route}"),
    ):
        heading = f"{variant}: {len(images)} {about}"
        figures[name] = plots.verdicts(images, table(csv), data.shape, columns, heading, title)
    write_figures(f"reports/figures/vae/{variant}", figures)
    say(f"{variant}: {len(figures)} figures in reports/figures/vae/{variant}")


def decode_plane(model: VAE) -> np.ndarray:
    """E[x|z] at the centres of the cells of a plane of latents, the uppermost row first: (n, pixels)."""
    rows, columns = plots.grid_size(model.shape)
    down, across = (EXTENT * (1 - 1 / count) * torch.linspace(-1, 1, count) for count in (rows, columns))
    latents = torch.stack(torch.meshgrid(across, -down, indexing="xy"), dim=-1).flatten(0, 1)
    return model.decode(latents).numpy()
