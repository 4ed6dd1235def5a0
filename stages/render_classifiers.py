"""Stage render_classifiers: which classes the classifier of the images confuses."""

import pandas as pd

from elbo.determinism import prepare
from pages.figures import write_figures
from pages.names import dataset_title
from plots.classifier import confusion
from stages.schema import Params
from workflow.core import dataset
from workflow.core.params import load
from workflow.core.tables import read_csv
from workflow.runs.console import say

FIGURES = "reports/figures/classifier/images"


def main() -> None:
    (compute,) = load(Params, "compute")
    prepare(compute.threads)
    data = dataset.load("data/binarized.npz")
    if not data.labelled:
        write_figures(FIGURES, {})
        return
    names = list(data.classes)
    table = read_csv("reports/classifier/images/predictions.csv", dtype=str)
    counts = pd.crosstab(table["actual"], table["predicted"]).reindex(names, columns=names, fill_value=0)
    title = dataset_title(data.name, data.fallback_for)
    write_figures(FIGURES, {"confusion": confusion({"classifier.images": counts.to_numpy()}, names, title)})
    say(f"1 figure in {FIGURES}")
