"""Stage evaluate_elbo@VARIANT: the ELBO and IWAE bounds of a trained VAE, on each split and each class.

Also how large the model is, how many units are active, and the terms of the ELBO as rate and distortion.
"""

from typing import Any

import numpy as np
import torch

from elbo.determinism import prepare, stream
from elbo.evaluation import ACTIVE, bounds, variance_of_means
from elbo.models.vae import VAE
from stages.schema import Params
from workflow.core import dataset
from workflow.core.arrays import write_npz
from workflow.core.files import write_json
from workflow.core.params import load
from workflow.core.tables import write_csv
from workflow.core.weights import read_weights
from workflow.runs.console import progress, say


def main(variant: str) -> None:
    compute, settings = load(Params, "compute", "evaluate_elbo")
    prepare(compute.threads)
    data = dataset.load("data/binarized.npz")
    model = VAE.from_weights(*read_weights(f"models/vae/{variant}.safetensors"))
    metrics: dict[str, Any] = {**data.identity, "samples": settings.samples}
    described: dict[str, Any] = {
        **data.identity,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "latent": model.latent,
    }
    rows = []
    each: dict[str, np.ndarray] = {}
    for split in progress(data.splits, total=len(data.splits), label=variant, unit="split"):
        # a fixed random choice in the order of the file, or all images
        order = torch.randperm(len(data.features[split]), generator=stream(settings.seed, f"choice {split}"))
        chosen = order[: settings.images].sort().values
        images = data.inputs(split)[chosen]
        noise = stream(settings.seed, f"posterior {split}")
        result = bounds(model, images, settings.samples, settings.iwae, noise)
        summary = result.summary()
        # a posterior without a closed form gives the divergence of all dimensions together
        by_dimension = result.kl.mean(0).tolist() if result.kl.shape[1] == model.latent else None
        metrics[split] = {"images": len(images), **summary, "kl_by_dimension": by_dimension}
        described[split] = {
            "rate": summary["kl"],
            "distortion": -summary["reconstruction"],
            "kl_by_dimension": by_dimension,
        }
        if split == "test":
            spread = variance_of_means(model, images).tolist() if len(images) > 1 else None
            active = None if spread is None else sum(variance > ACTIVE for variance in spread)
            described |= {"active_units": active, "variance_of_means": spread}
        each |= {f"index_{split}": chosen.numpy(), f"elbo_{split}": result.elbo.numpy()}
        for name, members in data.members(split, chosen).items():
            about = {"split": split, "class": name, "images": int(members.sum())}
            rows.append(about | result[members].summary())
        known = [f"{key} {value:.3f}" for key, value in summary.items() if value is not None]
        say(f"{variant}  {split}: {'  '.join(known)}")
    write_npz(f"data/elbo/{variant}.npz", **each)
    write_csv(f"reports/vae/{variant}/elbo_by_class.csv", rows, ["split", "class", "images", *summary])
    write_json(f"reports/vae/{variant}/elbo.json", metrics)
    write_json(f"reports/vae/{variant}/model.json", described)
    names = {"test": "elbo", "validation": "validation_elbo"}
    compared = {name: metrics[split]["elbo"] for split, name in names.items() if split in metrics}
    write_json(f"reports/metrics/vae/{variant}/elbo.json", {variant: compared})
