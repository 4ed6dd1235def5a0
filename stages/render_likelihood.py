"""Stage render_likelihood@VARIANT: exact posteriors, the gaps by class, a map of log p(x), the bounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from elbo.determinism import prepare
from elbo.vae import VAE
from pipeline import dataset
from pipeline.console import argument, run, say
from pipeline.files import read_json, read_weights, write_figure
from pipeline.params import load
from plots import likelihood as plots
from plots import style
from stages.schema import Params


def main() -> None:
    variant = argument("variant of vae")
    compute, activation = load(Params, "compute", f"vae.{variant}.activation")
    prepare(compute.threads)
    data = dataset.load("data/binarized.npz")
    model = VAE.from_weights(read_weights(Path("models/vae", f"{variant}.safetensors")), activation)
    with np.load(Path("data/likelihood", f"{variant}.npz"), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    with np.load(Path("data/elbo", f"{variant}.npz"), allow_pickle=False) as file:
        index = file["index_test"]
    report = Path("reports/vae", variant)
    elbo, exact = read_json(report / "elbo.json")["test"], read_json(report / "likelihood.json")["test"]
    table = pd.read_csv(report / "likelihood_by_class.csv", dtype={"class": str})
    images = data.inputs("test")[torch.from_numpy(index)]
    panels = {}
    for name in ("best", "median", "worst"):
        place = arrays[f"{name}_image"]
        panel = {key: arrays[f"{name}_{key}"] for key in ("z1", "z2", "log_joint", "loc", "scale", "elbo")}
        panel["picture"] = style.square(images[place : place + 1].numpy())[0]
        panel["log_likelihood"] = arrays["log_likelihood_test"][place]
        panels[name] = panel
    ks = sorted(int(key.removeprefix("iwae_")) for key in elbo if key.startswith("iwae_"))
    ladder = [(f"IWAE, k = {k}" if k > 1 else "ELBO", elbo[f"iwae_{k}"]) for k in ks]
    if ks[0] != 1:
        ladder.insert(0, ("ELBO", elbo["elbo"]))
    ladder.append(("log p(x)", exact["log_likelihood"]))
    title, means = data.title, model.encoder(images)[0].numpy()
    figures = {
        "posteriors": plots.posteriors(panels, f"Exact posteriors and their Gaussians: {variant}", title),
        "gaps": plots.decomposition(table, f"The inference gap by class: {variant}", title),
        "likelihood": plots.likelihood_map(
            means, arrays["log_likelihood_test"], f"log p(x) of the test images: {variant}", title
        ),
        "bounds": plots.bounds(ladder, f"Bounds of the log-likelihood: {variant}", title),
    }
    for what, figure in figures.items():
        write_figure(Path("reports/figures", f"vae_{variant}_{what}.png"), figure)
    say(f"{variant}: {len(figures)} figures in reports/figures/vae_{variant}_*.png")


if __name__ == "__main__":
    run(main)
