"""The results on the console, by `python -m pages.summary`, and as the README's table. It is no stage."""

import sys
from pathlib import Path
from typing import Any

from pages.filters import RESULTS, Row, results
from pages.render import gather, rows
from workflow.core.files import read_json, read_yaml
from workflow.runs.console import run

REPORTS = Path("reports")
HEADER = (
    f"{'variant':<12} {'dataset':<14} {'test ELBO':>10} {'notebook':>10} {'log p(x)':>10}  nats per image"
)


def main() -> None:
    variants, missing = evaluated()
    if not variants:
        sys.exit("no results yet: run `dvc repro` first")
    print("\n".join(["", HEADER, *lines()]))
    for name in missing:
        print(f"{name:<12} no results yet: run `dvc repro`")
    metrics = classifiers()
    for name, found in metrics.items():
        print(f"{name:<12} {found['dataset']:<14} accuracy {found['accuracy']:.2%}")
    every = [*metrics.values(), *(read_json(REPORTS / "vae" / name / "elbo.json") for name in variants)]
    for name in sorted({found["fallback_for"] for found in every if "fallback_for" in found}):
        print(f"\nWARNING: these are NOT the numbers of {name}: no source of it worked, so scikit-learn's")
        print("  digits stood in. With internet, or MNIST_MIRROR=<folder or address>: `make repro` again.")
    print("\nreport    reports/report.html (for a browser), reports/README.md")
    print("metrics   dvc metrics show       curves   make plots")
    print("runs      make ui  (or: mlflow ui, in this folder)\n")


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


def lines() -> list[str]:
    """A line of the console for each variant."""
    vae, found = read_results()
    columns = [found[key].values for key in ("test_end", "notebook_end", "log_likelihood")]
    return [
        f"{name:<12} {vae[name]['elbo']['dataset']:<14} "
        + " ".join(f"{'–' if value is None else format(value, '.2f'):>10}" for value in values)
        for name, values in zip(vae, zip(*columns, strict=True), strict=True)
    ]


def markdown() -> list[str]:
    """The README's table of results, line by line."""
    vae, found = read_results()
    table = [f"| | {' | '.join(vae)} |", "| --- |" + " ---: |" * len(vae)]
    table += [f"| {row.label} | {' | '.join(row.cells)} |" for row in found.values()]
    for name, metrics in classifiers().items():
        text = f"accuracy {metrics['accuracy']:.2%}, negative log-likelihood {metrics['nll']:.5f} nats"
        table += ["", f"Classifier `{name}`: {text} ({metrics['examples']} examples, {metrics['split']})."]
    return table


if __name__ == "__main__":
    run(main)
