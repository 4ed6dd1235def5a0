"""Stage sample_annuli: the points of the notebook's classification problem."""

import numpy as np

from elbo.exercises.annuli import sample
from stages.schema import Params
from workflow.core.dataset import Dataset
from workflow.core.params import load
from workflow.runs.console import say


def main() -> None:
    (annuli,) = load(Params, "annuli")
    points, labels = sample(annuli.points, annuli.positive, annuli.negative, annuli.seed)
    data = Dataset(
        name="annuli",
        fallback_for="",
        classes=("negative", "positive"),
        shape=(2,),
        features={"train": points.numpy()},
        labels={"train": labels.numpy().astype(np.uint8)},
    )
    data.save("data/annuli.npz")
    say(f"annuli: {annuli.points} points")
