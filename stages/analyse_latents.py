"""Stage analyse_latents@VARIANT: which classes overlap among the latents, and what lines show."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from elbo.analysis import columns, interpolation, latents
from elbo.determinism import prepare, stream
from elbo.models.classifier import Classifier
from elbo.models.vae import VAE, from_prior
from stages.schema import Interpolation, Latents, Params
from workflow.core import dataset
from workflow.core.arrays import write_npz
from workflow.core.files import write_json
from workflow.core.params import load
from workflow.core.tables import write_csv
from workflow.core.weights import read_weights
from workflow.runs.console import progress, say


def main(variant: str) -> None:
    compute, separation, lines, figures = load(Params, "compute", "latents", "interpolation", "figures")
    prepare(compute.threads)
    data = dataset.load("data/binarized.npz")
    model = VAE.from_weights(*read_weights(f"models/vae/{variant}.safetensors"))
    report = f"reports/vae/{variant}"
    part = iter(progress(("neighbours", "lines"), total=2, label=variant, unit="part"))
    next(part)
    means = {split: model.encoder(data.inputs(split)).mean for split in ("train", "test")}
    # of a wide latent, the projection stands for the plane
    plane = latents.project(means["train"], means["test"]) if model.latent > 2 else {}
    points = plane.get("points", means["test"].numpy())
    found = overlaps(data, means, points, separation, report) if data.labelled else {"labels": False}
    write_json(f"{report}/latents.json", data.identity | found)
    next(part)
    ends, others = (
        [from_prior(count, model.latent, stream(seed, f"interpolation {end}")) for end in ("starts", "ends")]
        for seed, count in ((figures.seed, figures.rows), (lines.seed, lines.pairs))
    )
    paths = interpolation.decode(model, ends[0], ends[1], figures.steps)
    write_npz(f"data/lines/{variant}.npz", probabilities=paths.numpy(), **plane)
    if data.labelled:
        summaries = judged_lines(data, model, means["train"], (ends, others), figures.steps, lines, report)
        right, unsure = found["neighbours_accuracy"], summaries["random"]["unsure"]
        about = f"classifier confidence below {lines.sure:.0%} in {unsure:.2%} of the steps on lines"
        say(f"{variant}: neighbours classify {right:.2%} of the test images correctly; {about}")
    else:
        for name, header in columns.LATENTS.items():
            write_csv(f"{report}/{name}.csv", [], header)
        many = interpolation.decode(model, others[0], others[1], figures.steps)
        shown, random = (interpolation.measure(x, figures.steps).summary() for x in (paths, many))
        summaries = {"labels": False, "shown": shown, "random": {"lines": lines.pairs, **random}}
        say(f"{variant}: lines of decoded images are {random['detour']:.2f} times as long as direct ones")
    write_json(f"{report}/interpolations.json", data.identity | {"steps": figures.steps} | summaries)


def overlaps(
    data: dataset.Dataset, means: Mapping[str, Tensor], points: np.ndarray, settings: Latents, report: str
) -> dict[str, Any]:
    """Writes the tables of classes and of pairs, which lie at `points` (N, 2); returns the metrics."""
    names, labels = list(data.classes), data.labels["test"]
    train, test = ((means[split].numpy(), data.labels[split]) for split in ("train", "test"))
    found = latents.separate(train, test, len(names), settings.neighbours, settings.silhouette_images)
    by_class = {
        "class": names,
        "images": found.confusion.sum(1),
        "neighbours_recall": latents.recall(labels, found.neighbours, len(names)),
        "probe_recall": latents.recall(labels, found.probe, len(names)),
        "silhouette": found.silhouette,
    }
    pairs = pd.DataFrame(latents.confused_pairs(found, points))
    pairs[["first", "second"]] = np.array(names)[pairs[["first", "second"]].to_numpy()]
    confusion = pd.DataFrame(found.confusion, pd.Index(names, name="class"), names).reset_index()
    write_csv(f"{report}/latents_by_class.csv", by_class)
    write_csv(f"{report}/latents_confusion.csv", confusion)
    write_csv(f"{report}/latents_pairs.csv", pairs)
    silhouettes = found.silhouette[~np.isnan(found.silhouette)]
    return {
        "neighbours_accuracy": float((found.neighbours == labels).mean()),
        "probe_accuracy": float((found.probe == labels).mean()),
        "silhouette": float(np.mean(silhouettes)) if len(silhouettes) else None,
        "largest_class_share": float(found.confusion.sum(1).max() / len(labels)),
    }


def judged_lines(
    data: dataset.Dataset,
    model: VAE,
    means: Tensor,
    ends: Sequence[Sequence[Tensor]],
    steps: int,
    settings: Interpolation,
    report: str,
) -> dict[str, Any]:
    """Writes the verdicts on lines between `ends`, those shown and many others, and between classes."""
    judge = Classifier.from_weights(*read_weights("models/classifier/images.safetensors"))
    follow = partial(interpolation.follow, model, judge, steps=steps, sure=settings.sure)
    shown, many = (follow(*pair) for pair in ends)
    joined, of_centres = interpolation.between_centres(follow, means, data.targets("train"))
    write_csv(f"{report}/interpolation_lines.csv", interpolation.by_step(data.classes, shown))
    pairs = interpolation.by_pair(data.classes, joined, of_centres, many)
    write_csv(f"{report}/interpolation_pairs.csv", pairs)
    return {
        "shown": shown.summary(),
        "random": {"lines": settings.pairs, **many.summary()},
        "centres": {"lines": len(joined), **of_centres.summary()},
    }
