"""Stage render_critique@VARIANT: verdicts on samples and lines, classes compared, overlaps in the plane."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from elbo.determinism import prepare, stream
from elbo.vae import VAE, from_prior, straight_lines
from pipeline import dataset
from pipeline.console import argument, run, say
from pipeline.files import read_weights, write_figure
from pipeline.params import load
from plots import classifier
from plots import critique as plots
from stages.schema import Params


def main() -> None:
    variant = argument("variant of vae")
    compute, settings, activation = load(Params, "compute", "figures", f"vae.{variant}.activation")
    prepare(compute.threads)
    data = dataset.load("data/binarized.npz")
    names, title = data.classes, data.title
    model = VAE.from_weights(read_weights(Path("models/vae", f"{variant}.safetensors")), activation)
    report = Path("reports/vae", variant)
    tables = {
        name: pd.read_csv(
            report / f"{name}.csv", dtype={"class": str, "verdict": str, "first": str, "second": str}
        )
        for name in (
            "samples",
            "critique_by_class",
            "latents_confusion",
            "latents_pairs",
            "interpolation_lines",
            "interpolation_pairs",
        )
    }
    samples = model.decode(from_prior(settings.grid**2, stream(settings.seed, "samples")))
    starts, ends = (
        from_prior(settings.rows, stream(settings.seed, f"interpolation {end}")) for end in ("starts", "ends")
    )
    paths = model.decode(straight_lines(starts, ends, settings.steps).flatten(0, 1))
    means = model.encoder(data.inputs("test"))[0].numpy()
    counts = tables["latents_confusion"].drop(columns="class").to_numpy()
    figures = {
        "verdicts": plots.verdicts(
            samples.numpy(),
            tables["samples"],
            settings.grid,
            f"Samples and the judge's verdicts: {variant}",
            title,
        ),
        "critique": plots.by_class(
            tables["critique_by_class"], f"Samples and reconstructions by class: {variant}", title
        ),
        "neighbours": classifier.confusion(counts, names, title),
        "overlaps": plots.overlaps(
            means,
            data.labels["test"],
            names,
            tables["latents_pairs"],
            f"Where classes overlap in the plane: {variant}",
            title,
        ),
        "line_verdicts": plots.verdicts(
            paths.numpy(),
            tables["interpolation_lines"],
            settings.steps,
            f"Straight lines and the judge's verdicts: {variant}",
            title,
        ),
        "line_pairs": plots.pair_matrix(
            tables["interpolation_pairs"], names, f"Lines between pairs of classes: {variant}", title
        ),
    }
    for what, figure in figures.items():
        write_figure(Path("reports/figures", f"vae_{variant}_{what}.png"), figure)
    say(f"{variant}: {len(figures)} figures in reports/figures/vae_{variant}_*.png")


if __name__ == "__main__":
    run(main)
