"""Stage evaluate_likelihood@VARIANT: log p(x) by quadrature, and what the ELBO misses of it, taken apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from elbo import likelihood
from elbo.determinism import prepare, stream
from elbo.grid import Grid
from elbo.price import price
from elbo.vae import VAE
from pipeline import dataset
from pipeline.arrays import read_npz, write_npz
from pipeline.console import argument, progress, run, say
from pipeline.files import write_json
from pipeline.params import load
from pipeline.tables import write_csv
from pipeline.weights import read_weights
from stages.schema import Params


def main() -> None:
    variant = argument("variant of vae")
    compute, settings, activation = load(
        Params, "compute", "evaluate_likelihood", f"vae.{variant}.activation"
    )
    prepare(compute.threads)
    data = dataset.load("data/binarized.npz")
    model = VAE.from_weights(read_weights(Path("models/vae", f"{variant}.safetensors")), activation)
    scored = read_npz(Path("data/elbo", f"{variant}.npz"))
    bounds = {name: torch.from_numpy(values) for name, values in scored.items()}
    metrics: dict[str, Any] = dict(data.identity)
    arrays: dict[str, np.ndarray] = {}
    rows = []
    for split in progress(data.splits, total=len(data.splits), label=variant, unit="split"):
        index, elbo = bounds[f"index_{split}"], bounds[f"elbo_{split}"]
        x, labels = data.inputs(split)[index], data.targets(split)[index]
        order = torch.randperm(len(index), generator=stream(settings.seed, f"subset {split}"))
        subset = order[: settings.gap_images].sort().values
        grid = Grid(settings.extent, settings.nodes)
        found = likelihood.evaluate(model, x, grid, subset, settings.refined)
        few = subset[: settings.checked]
        noise = stream(settings.seed, f"check {split}")
        sampled = likelihood.importance_sampling(model, x[few], found.windows, settings.checks, noise)
        check = likelihood.mean("difference", sampled - found.log_likelihood[few])
        metrics[split] = found.summary(elbo) | {"importance_sampling": {"images": len(few), **check}}
        for label in labels.unique().tolist():
            about = {"split": split, "class": data.classes[label]}
            rows.append(about | found.of(labels == label, elbo))
        arrays |= {f"log_likelihood_{split}": found.log_likelihood.numpy()}
        say(
            f"{variant}  {split}: log p(x) {found.log_likelihood.mean():.3f}  ELBO {elbo.mean():.3f}  "
            + "  ".join(f"{name} gap {gap.mean():.3f}" for name, gap in found.gaps.items())
        )
        if split == "test":
            noise = stream(settings.seed, "price")
            first = slice(settings.price.images)
            metrics["price"] = price(model, x[first], elbo[first], settings.price, noise).summary()
            arrays |= found.shown()
    report = Path("reports/vae", variant)
    write_csv(report / "likelihood_by_class.csv", pd.DataFrame(rows))
    write_npz(Path("data/likelihood", f"{variant}.npz"), **arrays)
    write_json(report / "likelihood.json", metrics)
    compared = {"logp": metrics["test"]["log_likelihood"], "gap": metrics["test"]["inference_gap"]}
    write_json(Path("reports/metrics/vae", variant, "likelihood.json"), {variant: compared})


if __name__ == "__main__":
    run(main)
