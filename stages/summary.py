"""After the pipeline: `python -m stages.summary` prints the lines that matter, and is no stage itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pipeline.console import run
from pipeline.files import read_json
from pipeline.tables import read_csv

VAE = Path("reports/vae")
HEAD = f"{'variant':<12} {'dataset':<14} {'test ELBO':>10} {'notebook':>10} {'log p(x)':>10}  nats an image"


def main() -> None:
    rows = [line(path) for path in sorted(VAE.glob("*/elbo.json"))]
    if not rows:
        sys.exit("nothing to sum up: run `dvc repro` first")
    metrics = [read_json(path) for path in sorted(Path("reports").glob("**/*.json"))]
    asked = {item["fallback_for"] for item in metrics if "fallback_for" in item}
    print(f"\n{HEAD}")
    print("\n".join(rows))
    for path in sorted(Path("reports/classifier").glob("*/metrics.json")):
        found = read_json(path)
        print(f"{path.parent.name:<12} {found['dataset']:<14} accuracy {found['accuracy']:.2%}")
    for name in sorted(asked):
        print(f"\nWARNING: these are NOT the numbers of {name}: it could not be had, and scikit-learn's")
        print("  digits stood in. With internet, or MNIST_MIRROR=<folder or address>: `make repro` again.")
    print("\nreport    reports/report.html (for a browser), reports/README.md")
    print("metrics   dvc metrics show       curves   dvc plots show")
    print("runs      make ui  (or: mlflow ui, in this folder)\n")


def line(path: Path) -> str:
    """A variant's row: its last test ELBO by one sample, as the notebook's, and the exact log-likelihood."""
    name, metrics = path.parent.name, read_json(path)
    last, notebook = at_the_end(path)
    reference = "-" if notebook is None else f"{notebook:.2f}"
    exact = read_json(path.with_name("likelihood.json"))["test"]["log_likelihood"]
    return f"{name:<12} {metrics['dataset']:<14} {last:>10.2f} {reference:>10} {exact:>10.2f}"


def at_the_end(path: Path) -> tuple[float, float | None]:
    """The test ELBO after the last epoch, and the notebook's there, where it trained on the same data."""
    last = read_csv(path.with_name("training.csv")).iloc[-1]
    notebook = read_csv("data/notebook_elbo.csv").set_index("epoch")["test_elbo"]
    applies = read_json(path)["dataset"] == "mnist" and last["epoch"] in notebook.index
    return float(last["test_elbo"]), float(notebook[last["epoch"]]) if applies else None


def largest_k(metrics: dict[str, Any]) -> int:
    return max(int(key.removeprefix("iwae_")) for key in metrics["test"] if key.startswith("iwae_"))


def with_error(metrics: dict[str, Any], name: str) -> str:
    return f"{metrics[name]:.2f} ± {metrics[f'{name}_se']:.2f}"


def amortized(metrics: dict[str, Any]) -> float:
    return metrics["gaps"]["amortization"] / metrics["gaps"]["inference"]


def markdown() -> list[str]:
    """The README's table of results, line by line; the test of the README prints it where it differs."""
    paths = sorted(VAE.glob("*/elbo.json"))
    names = [path.parent.name for path in paths]
    metrics = [read_json(path) for path in paths]
    ends = [at_the_end(path) for path in paths]
    k = largest_k(metrics[0])
    exact = [read_json(path.with_name("likelihood.json")) for path in paths]
    tests = [item["test"] for item in metrics]
    rows: list[tuple[str, list[str]]] = [
        ("test ELBO after the last epoch, one sample", [f"{last:.2f}" for last, _ in ends]),
        ("… of the reference notebook", [f"{notebook:.2f}" for _, notebook in ends if notebook]),
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
        ("… of it, by amortization", [f"{amortized(item['test']):.0%}" for item in exact]),
        ("train ELBO of 10,000 images", [f"{item['train']['elbo']:.2f}" for item in metrics]),
    ]
    head = [f"| | {' | '.join(names)} |", "| --- |" + " ---: |" * len(names)]
    table = head + [f"| {what} | {' | '.join(values)} |" for what, values in rows]
    for path in sorted(Path("reports/classifier").glob("*/metrics.json")):
        found = read_json(path)
        table += [
            "",
            f"Classifier `{path.parent.name}`: accuracy {found['accuracy']:.2%}, "
            f"negative log-likelihood {found['nll']:.5f} nats "
            f"({found['examples']} examples, {found['split']}).",
        ]
    return table


if __name__ == "__main__":
    run(main)
