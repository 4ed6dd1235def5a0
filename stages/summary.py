"""After the pipeline: `python -m stages.summary` prints the lines that matter, and is no stage itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.console import run
from pipeline.files import read_json
from pipeline.params import read
from pipeline.tables import read_csv

REPORTS = Path("reports")
HEAD = f"{'variant':<12} {'dataset':<14} {'test ELBO':>10} {'notebook':>10} {'log p(x)':>10}  nats an image"
NONE = "–"


def main() -> None:
    variants, missing = evaluated()
    if not variants:
        sys.exit("no results yet: run `dvc repro` first")
    print(f"\n{HEAD}")
    print("\n".join(line(name) for name in variants))
    for name in missing:
        print(f"{name:<12} no results yet: run `dvc repro`")
    found = dict(classifiers())
    for name, metrics in found.items():
        print(f"{name:<12} {metrics['dataset']:<14} accuracy {metrics['accuracy']:.2%}")
    every = [*found.values(), *(elbo(name) for name in variants)]
    for name in sorted({metrics["fallback_for"] for metrics in every if "fallback_for" in metrics}):
        print(f"\nWARNING: these are NOT the numbers of {name}: it could not be had, and scikit-learn's")
        print("  digits stood in. With internet, or MNIST_MIRROR=<folder or address>: `make repro` again.")
    print("\nreport    reports/report.html (for a browser), reports/README.md")
    print("metrics   dvc metrics show       curves   make plots")
    print("runs      make ui  (or: mlflow ui, in this folder)\n")


def evaluated() -> tuple[list[str], list[str]]:
    """The variants of params.yaml, with results and without; a removed one may have left its files."""
    names = list(read()["vae"])
    files = ("training.csv", "elbo.json", "likelihood.json")
    there = [name for name in names if all(path(name, file).is_file() for file in files)]
    return there, [name for name in names if name not in there]


def classifiers() -> Iterator[tuple[str, dict[str, Any]]]:
    """The classifiers that params.yaml has, each with its metrics, where they are there."""
    for name in read()["classifier"]:
        file = REPORTS / "classifier" / name / "metrics.json"
        if file.is_file():
            yield name, read_json(file)


def path(variant: str, file: str) -> Path:
    return REPORTS / "vae" / variant / file


def elbo(variant: str) -> dict[str, Any]:
    return read_json(path(variant, "elbo.json"))


def likelihood(variant: str) -> dict[str, Any]:
    return read_json(path(variant, "likelihood.json"))


def line(name: str) -> str:
    """A variant's row: its last test ELBO by one sample, as the notebook's, and the exact log-likelihood."""
    last, notebook = at_the_end(name)
    exact = likelihood(name)["test"]["log_likelihood"]
    return f"{name:<12} {elbo(name)['dataset']:<14} {last:>10.2f} {written(notebook):>10} {exact:>10.2f}"


def at_the_end(name: str) -> tuple[float, float | None]:
    """The test ELBO after the last epoch, and the notebook's there, where it trained on the same data."""
    last = read_csv(path(name, "training.csv")).iloc[-1]
    notebook = read_csv("data/notebook_elbo.csv").set_index("epoch")["test_elbo"]
    applies = elbo(name)["dataset"] == "mnist" and last["epoch"] in notebook.index
    return float(last["test_elbo"]), float(notebook[last["epoch"]]) if applies else None


def written(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"


def largest_k(metrics: dict[str, Any]) -> int:
    return max(int(key.removeprefix("iwae_")) for key in metrics["test"] if key.startswith("iwae_"))


def with_error(metrics: dict[str, Any], name: str) -> str:
    return f"{metrics[name]:.2f} ± {metrics[f'{name}_se']:.2f}"


def amortized(gaps: dict[str, Any]) -> str:
    share, error = gaps["amortization_share"], gaps["amortization_share_se"]
    return f"{100 * share:.1f} ± {100 * error:.1f} %"


def markdown() -> list[str]:
    """The README's table of results, line by line; the test of the README prints it where it differs."""
    names, _ = evaluated()
    metrics = [elbo(name) for name in names]
    ends = [at_the_end(name) for name in names]
    k = largest_k(metrics[0])
    exact = [likelihood(name) for name in names]
    tests = [item["test"] for item in metrics]
    rows: list[tuple[str, list[str]]] = [
        ("test ELBO after the last epoch, one sample", [f"{last:.2f}" for last, _ in ends]),
        ("… of the reference notebook", [written(notebook) for _, notebook in ends]),
        (
            f"test ELBO, {metrics[0]['samples']} samples",
            [with_error(test, "elbo") for test in tests],
        ),
        ("… reconstruction", [f"{test['reconstruction']:.2f}" for test in tests]),
        ("… KL", [f"{test['kl']:.2f}" for test in tests]),
        (f"IWAE, k = {k}", [f"{test[f'iwae_{k}']:.2f}" for test in tests]),
        ("test log p(x), exact", [with_error(item["test"], "log_likelihood") for item in exact]),
        (
            "… minus the ELBO: the inference gap",
            [with_error(item["test"], "inference_gap") for item in exact],
        ),
        (
            f"… of it, by amortization ({exact[0]['test']['gaps']['images']:,} images)",
            [amortized(item["test"]["gaps"]) for item in exact],
        ),
        (
            f"train ELBO of {metrics[0]['train']['images']:,} images",
            [f"{item['train']['elbo']:.2f}" for item in metrics],
        ),
    ]
    head = [f"| | {' | '.join(names)} |", "| --- |" + " ---: |" * len(names)]
    table = head + [f"| {what} | {' | '.join(values)} |" for what, values in rows]
    for name, found in classifiers():
        table += [
            "",
            f"Classifier `{name}`: accuracy {found['accuracy']:.2%}, "
            f"negative log-likelihood {found['nll']:.5f} nats "
            f"({found['examples']} examples, {found['split']}).",
        ]
    return table


if __name__ == "__main__":
    run(main)
