"""Stage analyse_latents@VARIANT: which classes overlap in the latent plane, what lines through it show."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from elbo import interpolation, latents
from elbo.classifier import Classifier
from elbo.determinism import prepare, stream
from elbo.vae import VAE, from_prior
from pipeline import dataset
from pipeline.console import argument, progress, run, say
from pipeline.files import write_json
from pipeline.params import load
from pipeline.tables import write_csv
from pipeline.weights import read_weights
from stages.schema import Params


def main() -> None:
    variant = argument("variant of vae")
    compute, separation, lines, figures, activation, of_judge = load(
        Params,
        "compute",
        "latents",
        "interpolation",
        "figures",
        f"vae.{variant}.activation",
        "classifier.images.activation",
    )
    prepare(compute.threads)
    data = dataset.load("data/binarized.npz")
    names, labels = data.classes, data.labels["test"]
    model = VAE.from_weights(read_weights(Path("models/vae", f"{variant}.safetensors")), activation)
    judge = Classifier.from_weights(read_weights("models/classifier/images.safetensors"), of_judge)
    part = iter(progress(("neighbours", "lines"), total=2, label=variant, unit="part"))
    next(part)
    means = {split: model.encoder(data.inputs(split))[0] for split in ("train", "test")}
    report = Path("reports/vae", variant)

    points = means["test"].numpy()
    found = latents.separate(
        (means["train"].numpy(), data.labels["train"]),
        (points, labels),
        len(names),
        separation.neighbours,
        separation.silhouette_images,
    )
    by_class = {
        "class": names,
        "images": found.confusion.sum(1),
        "neighbours_recall": latents.recall(labels, found.neighbours, len(names)),
        "probe_recall": latents.recall(labels, found.probe, len(names)),
        "silhouette": found.silhouette,
    }
    pairs = pd.DataFrame(latents.confused_pairs(found, points))
    for column in ("first", "second"):
        pairs[column] = [names[label] for label in pairs[column]]
    confusion = pd.DataFrame(found.confusion, columns=list(names))
    confusion.insert(0, "class", list(names))
    write_csv(report / "latents_by_class.csv", pd.DataFrame(by_class))
    write_csv(report / "latents_confusion.csv", confusion)
    write_csv(report / "latents_pairs.csv", pairs)
    accuracy = float((found.neighbours == labels).mean())
    metrics = {
        "neighbours_accuracy": accuracy,
        "probe_accuracy": float((found.probe == labels).mean()),
        "silhouette": float(found.silhouette.mean()),
        "largest_class_share": float(found.confusion.sum(1).max() / len(labels)),
    }
    write_json(report / "latents.json", data.identity | metrics)

    next(part)

    def follow(starts: torch.Tensor, ends: torch.Tensor) -> interpolation.Lines:
        return interpolation.follow(model, judge, starts, ends, figures.steps, lines.sure)

    def between(seed: int, count: int) -> interpolation.Lines:
        ends = (stream(seed, f"interpolation {end}") for end in ("starts", "ends"))
        return follow(*(from_prior(count, generator) for generator in ends))

    shown, many = between(figures.seed, figures.rows), between(lines.seed, lines.pairs)
    joined, of_centres = interpolation.between_centres(follow, means["train"], data.targets("train"))
    table = interpolation.by_pair(names, joined, of_centres, many)
    write_csv(report / "interpolation_lines.csv", pd.DataFrame(interpolation.by_step(names, shown)))
    write_csv(report / "interpolation_pairs.csv", pd.DataFrame(table))
    summaries = {
        "steps": figures.steps,
        "shown": shown.summary(),
        "random": {"lines": lines.pairs, **many.summary()},
        "centres": {"lines": len(joined), **of_centres.summary()},
    }
    write_json(report / "interpolations.json", data.identity | summaries)
    unsure = (~many.sure).double().mean()
    say(f"{variant}: neighbours name {accuracy:.2%} of the test images; {unsure:.2%} of steps are unclear")


if __name__ == "__main__":
    run(main)
