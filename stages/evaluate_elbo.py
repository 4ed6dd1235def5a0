"""Stage evaluate_elbo@VARIANT: the ELBO and IWAE bounds of a trained VAE, on each split and each class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from elbo.determinism import prepare, stream
from elbo.evaluation import bounds
from elbo.vae import VAE
from pipeline import dataset
from pipeline.arrays import write_npz
from pipeline.console import argument, progress, run, say
from pipeline.files import write_json
from pipeline.params import load
from pipeline.tables import write_csv
from pipeline.weights import read_weights
from stages.schema import Params


def main() -> None:
    variant = argument("variant of vae")
    compute, settings, activation = load(Params, "compute", "evaluate_elbo", f"vae.{variant}.activation")
    prepare(compute.threads)
    data = dataset.load("data/binarized.npz")
    weights = read_weights(Path("models/vae", f"{variant}.safetensors"))
    model = VAE.from_weights(weights, activation)
    metrics: dict[str, Any] = {**data.identity, "samples": settings.samples}
    rows = []
    each: dict[str, np.ndarray] = {}
    for split in progress(data.splits, total=len(data.splits), label=variant, unit="split"):
        # a fixed random choice, in the order of the file; all images where there are not more
        order = torch.randperm(len(data.labels[split]), generator=stream(settings.seed, f"choice {split}"))
        chosen = order[: settings.images].sort().values
        images, labels = data.inputs(split)[chosen], data.targets(split)[chosen]
        noise = stream(settings.seed, f"posterior {split}")
        result = bounds(model, images, settings.samples, settings.iwae, noise)
        kl = result.kl.mean(0).tolist()
        metrics[split] = {"images": len(images), **result.summary(), "kl_by_dimension": kl}
        each |= {f"index_{split}": chosen.numpy(), f"elbo_{split}": result.elbo.numpy()}
        for label in labels.unique().tolist():
            members = labels == label
            about = {"split": split, "class": data.classes[label], "images": int(members.sum())}
            rows.append(about | result[members].summary())
        say(
            f"{variant}  {split}: "
            + "  ".join(f"{key} {value:.3f}" for key, value in result.summary().items())
        )
    write_npz(Path("data/elbo", f"{variant}.npz"), **each)
    report = Path("reports/vae", variant)
    write_csv(report / "elbo_by_class.csv", pd.DataFrame(rows))
    write_json(report / "elbo.json", metrics)
    compared = {"elbo": metrics["test"]["elbo"]}
    if "validation" in metrics:
        compared["validation_elbo"] = metrics["validation"]["elbo"]
    write_json(Path("reports/metrics/vae", variant, "elbo.json"), {variant: compared})


if __name__ == "__main__":
    run(main)
