"""Stage sample_annuli: the points of the notebook's classification problem."""

from __future__ import annotations

import numpy as np

from elbo.annuli import sample
from pipeline.console import run, say
from pipeline.dataset import Dataset
from pipeline.params import load
from stages.schema import Params


def main() -> None:
    (annuli,) = load(Params, "annuli")
    points, labels = sample(annuli.points, annuli.positive, annuli.negative, annuli.seed)
    data = Dataset(
        name="annuli",
        fallback_for="",
        classes=("negative", "positive"),
        width=2,
        features={"train": points.numpy()},
        labels={"train": labels.numpy().astype(np.uint8)},
    )
    data.save("data/annuli.npz")
    say(f"annuli: {annuli.points} points")


if __name__ == "__main__":
    run(main)
