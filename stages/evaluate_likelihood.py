"""Stage evaluate_likelihood@VARIANT: log p(x) by quadrature, and the parts of its gap to the ELBO.

Of a latent that is no plane: lower bounds of log p(x).
"""

from functools import partial
from typing import Any

import numpy as np
import torch

from elbo.bounds import mean_and_error
from elbo.determinism import prepare, stream
from elbo.estimates.evaluate import COLUMNS, anneal, evaluate
from elbo.exact import likelihood
from elbo.exact.grid import Grid
from elbo.exact.price import price
from elbo.models.vae import VAE
from stages.schema import Params
from stages.schema_likelihood import EvaluateLikelihood
from workflow.core import dataset
from workflow.core.arrays import read_npz, write_npz
from workflow.core.files import write_json
from workflow.core.params import load
from workflow.core.tables import write_csv
from workflow.core.weights import read_weights
from workflow.runs.console import progress, say


def main(variant: str) -> None:
    compute, settings = load(Params, "compute", "evaluate_likelihood")
    prepare(compute.threads)
    data = dataset.load("data/binarized.npz")
    model = VAE.from_weights(*read_weights(f"models/vae/{variant}.safetensors"))
    bounds = {name: torch.from_numpy(x) for name, x in read_npz(f"data/elbo/{variant}.npz").items()}
    if model.latent != 2:
        bound(variant, model, data, bounds, settings)
        return
    metrics: dict[str, Any] = dict(data.identity)
    arrays: dict[str, np.ndarray] = {}
    rows, families = [], []
    grid = Grid(settings.extent, settings.nodes)
    for split in progress(data.splits, total=len(data.splits), label=variant, unit="split"):
        index, elbo = bounds[f"index_{split}"], bounds[f"elbo_{split}"]
        x = data.inputs(split)[index]
        order = torch.randperm(len(index), generator=stream(settings.seed, f"subset {split}"))
        subset = order[: settings.gap_images].sort().values
        found = likelihood.evaluate(model, x, grid, subset, settings.refined)
        few = found.subset[: settings.checked]
        noise = stream(settings.seed, f"check {split}")
        sampled = likelihood.importance_sampling(model, x[few], found.windows, settings.checks, noise)
        check = mean_and_error("difference", sampled - found.log_likelihood[few])
        metrics[split] = found.summary(elbo) | {"importance_sampling": {"images": len(few), **check}}
        for name, members in data.members(split, index).items():
            rows.append({"split": split, "class": name} | found.means(members, elbo))
        families += [{"split": split, **row} for row in found.by_family()]
        arrays[f"log_likelihood_{split}"] = found.log_likelihood.numpy()
        say(
            f"{variant}  {split}: log p(x) {found.log_likelihood.mean():.3f}  ELBO {elbo.mean():.3f}  "
            + "  ".join(f"{name} gap {gap.mean():.3f}" for name, gap in found.gaps.items())
        )
        if split == "test":
            noise = stream(settings.seed, "price")
            first = slice(settings.price.images)
            limits = settings.price.samples, settings.price.steps, settings.price.lr
            metrics["price"] = price(model, x[first], elbo[first], *limits, noise).summary()
            arrays |= found.shown()
    columns = ["split", "class", *found.means(torch.zeros(len(x), dtype=torch.bool), elbo)]
    write_csv(f"reports/vae/{variant}/estimators.csv", {name: [] for name in ("split", *COLUMNS)})
    write(variant, metrics, arrays, rows, columns, families)


def bound(
    variant: str,
    model: VAE,
    data: dataset.Dataset,
    bounds: dict[str, torch.Tensor],
    settings: EvaluateLikelihood,
) -> None:
    """Lower bounds of log p(x) of a model whose latent is no plane."""
    metrics: dict[str, Any] = {**data.identity, "method": "importance sampling"}
    arrays: dict[str, np.ndarray] = {}
    rows, families, estimators = [], [], []
    track = partial(progress, label=variant, unit="batch")
    for split in data.splits:
        index, elbo = bounds[f"index_{split}"], bounds[f"elbo_{split}"]
        x = data.inputs(split)[index]
        found = evaluate(model, x, elbo, settings.wide, settings.seed, split, track)
        metrics[split] = found.summary()
        say(f"{variant}  {split}: log p(x) {found.bound.mean():.3f} or more, by {len(found.bound)} images")
        estimates = found.by_estimator()
        if split == "test":
            limits = settings.wide.annealed, settings.seed, split, track
            annealed = anneal(model, x, data.inputs("train"), *limits)
            estimates.append(annealed.row())
            same = found.bound[torch.isin(found.subset, annealed.images)]
            metrics[split]["annealed"] = annealed.summary() | {"refined": same.mean().item()}
        for name, members in data.members(split, index).items():
            if members[found.subset].any():
                rows.append({"split": split, "class": name} | found.means(members))
        families += [{"split": split} | row for row in found.by_family()]
        estimators += [{"split": split} | row for row in estimates]
        arrays |= {f"{name}_{split}": values.numpy() for name, values in found.arrays.items()}
    columns = ["split", "class", *found.means(torch.zeros(len(x), dtype=torch.bool))]
    write_csv(f"reports/vae/{variant}/estimators.csv", estimators)
    write(variant, metrics, arrays, rows, columns, families)


def write(variant: str, metrics: Any, arrays: Any, rows: Any, columns: Any, families: Any) -> None:
    write_csv(f"reports/vae/{variant}/likelihood_by_class.csv", rows, columns)
    write_csv(f"reports/vae/{variant}/families.csv", families)
    write_npz(f"data/likelihood/{variant}.npz", **arrays)
    write_json(f"reports/vae/{variant}/likelihood.json", metrics)
    compared = {"logp": metrics["test"]["log_likelihood"], "gap": metrics["test"]["inference_gap"]}
    write_json(f"reports/metrics/vae/{variant}/likelihood.json", {variant: compared})
