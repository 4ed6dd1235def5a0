"""The results on the console, by `python -m pages.summary`, and as the README's table. It is no stage.

`python -m pages.summary FOLDER` shows those of a small run in a folder, as `make quick` makes them.
"""

import os
import sys
from pathlib import Path
from typing import Any

from pages.filters import RESULTS, Row, number, results, share
from pages.names import dataset_title
from pages.render import gather, rows
from workflow.core.files import read_json, read_yaml
from workflow.runs.console import run

REPORTS = Path("reports")
COLUMNS = "{:<12} {:<14} {:>10} {:>10} {:>15}".format
PAGE = REPORTS / "report.html"


def main() -> None:
    small = sys.argv[1] if sys.argv[1:] else ""
    os.chdir(small or ".")
    variants, _missing = evaluated()
    if not variants:
        sys.exit("no results yet: run `dvc repro` first")
    print("\n".join(["", *console()[: -1 if small else None]]))
    if small:
        print(f"{'small run':<12} NOT the real numbers, for which run: make repro     open {small}/{PAGE}")
    metrics = classifiers()
    every = [*metrics.values(), *(read_json(REPORTS / "vae" / name / "elbo.json") for name in variants)]
    for name in sorted({found["fallback_for"] for found in every if "fallback_for" in found}):
        print(f"WARNING: these are NOT the numbers of {dataset_title(name)}: no source of it worked, so UCI")
        print(
            "  digits stood in. With internet, or MNIST_MIRROR=<folder or address>, run `make repro` again."
        )


def console() -> list[str]:
    """What a run ends with: a header, a line for each variant, the classifiers, and where to go on."""
    missing = [f"{name:<12} no results yet: run `dvc repro`" for name in evaluated()[1]]
    accuracies = [
        f"{name} {share(found['accuracy'], 2)} ({number(found['examples'], 0)} {found['split']})"
        if found.get("labels", True)
        else f"{name} – (no labels)"
        for name, found in classifiers().items()
    ]
    return [
        header(),
        *lines(),
        *missing,
        f"{'classifiers':<12} classified correctly: {', '.join(accuracies) or 'no results yet'}",
        f"{'next':<12} open {PAGE}     runs: make ui     compare: make compare",
    ]


def evaluated() -> tuple[list[str], list[str]]:
    """The variants of params.yaml with results, and those without; files of removed variants do not count."""
    names = list(read_yaml()["vae"])
    found = [name for name in names if all((REPORTS / "vae" / name / file).is_file() for file in RESULTS)]
    return found, [name for name in names if name not in found]


def classifiers() -> dict[str, dict[str, Any]]:
    """The metrics of the classifiers of params.yaml that have been evaluated."""
    paths = {name: REPORTS / "classifier" / name / "metrics.json" for name in read_yaml()["classifier"]}
    return {name: read_json(path) for name, path in paths.items() if path.is_file()}


def read_results() -> tuple[dict[str, dict[str, Any]], dict[str, Row]]:
    """The files of the variants with results, and their rows."""
    vae = gather(REPORTS / "vae", evaluated()[0], RESULTS)
    return vae, results(vae, rows("data/notebook_elbo.csv"))


def header() -> str:
    """The names of the columns of `lines`."""
    if not any(read_results()[1]["log_likelihood"].bounds):
        return COLUMNS("variant", "dataset", "test ELBO", "reference", "exact log p(x)") + "  nats per image"
    columns = COLUMNS("variant", "dataset", "test ELBO", "reference", "log p(x)")
    return f"{columns}  nats per image; ≥: at least, by importance sampling"


def lines() -> list[str]:
    """A line of the console for each variant; ≥ stands before a lower bound of log p(x)."""
    vae, found = read_results()
    numbers = [map(number, found[key].values) for key in ("test_end", "notebook_end")]
    likelihoods = [cell.partition(" ± ")[0] for cell in found["log_likelihood"].cells]
    return [
        COLUMNS(name, dataset_title(vae[name]["elbo"]["dataset"]), *values)
        for name, *values in zip(vae, *numbers, likelihoods, strict=True)
    ]


def markdown() -> list[str]:
    """The README's table of results, line by line."""
    vae, found = read_results()
    table = [f"| | {' | '.join(vae)} |", "| --- |" + " ---: |" * len(vae)]
    table += [f"| {row.label} | {' | '.join(row.cells)} |" for row in found.values()]
    for name, metrics in classifiers().items():
        if not metrics.get("labels", True):
            table += ["", f"Classifier `{name}`: the data have no labels."]
            continue
        text = f"accuracy {share(metrics['accuracy'], 2)}, negative log-likelihood {metrics['nll']:.5f} nats"
        examples = f"{number(metrics['examples'], 0)} examples"
        table += ["", f"Classifier `{name}`: {text} ({examples}, {metrics['split']})."]
    return table


if __name__ == "__main__":
    run(main)
