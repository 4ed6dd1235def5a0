"""Stage render_images: how the classifier of the binarized images learned, and what it confuses."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from sklearn.metrics import confusion_matrix

from pipeline import dataset
from pipeline.console import run, say
from pipeline.files import write_figure
from pipeline.params import load
from plots import classifier as plots
from stages.schema import Params


def main() -> None:
    load(Params)
    report = Path("reports/classifier/images")
    data = dataset.load("data/binarized.npz")
    training = pd.read_csv(report / "training.csv")
    table = pd.read_csv(report / "predictions.csv", dtype=str)
    counts = confusion_matrix(table["actual"], table["predicted"], labels=list(data.classes))
    title = "Classifying the binarized images"
    figures = {
        "curves": plots.curves(training, title, f"binarized {data.title}"),
        "confusion": plots.confusion(counts, data.classes, data.title),
    }
    for what, figure in figures.items():
        write_figure(Path("reports/figures", f"classifier_images_{what}.png"), figure)
    say(f"images: {len(figures)} figures in reports/figures/classifier_images_*.png")


if __name__ == "__main__":
    run(main)
