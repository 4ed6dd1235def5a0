"""Stage analyse_latents@VARIANT: which classes overlap in the latent plane, and which stand apart."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from elbo import latents
from elbo.determinism import prepare
from elbo.vae import VAE
from pipeline import dataset
from pipeline.console import argument, run, say
from pipeline.files import read_weights, write_csv, write_json
from pipeline.params import load
from stages.schema import Params


def main() -> None:
    variant = argument("variant of vae")
    compute, settings, activation = load(Params, "compute", "latents", f"vae.{variant}.activation")
    prepare(compute.threads)
    data = dataset.load("data/binarized.npz")
    names, labels = data.classes, data.labels["test"]
    model = VAE.from_weights(read_weights(Path("models/vae", f"{variant}.safetensors")), activation)
    means = {split: model.encoder(data.inputs(split))[0].numpy() for split in ("train", "test")}
    found = latents.separate(
        (means["train"], data.labels["train"]),
        (means["test"], labels),
        len(names),
        settings.neighbours,
        settings.silhouette_images,
    )
    by_class = pd.DataFrame(
        {
            "class": names,
            "images": found.confusion.sum(1),
            "neighbours_recall": latents.recall(labels, found.neighbours, len(names)),
            "probe_recall": latents.recall(labels, found.probe, len(names)),
            "silhouette": found.silhouette,
        }
    )
    pairs = pd.DataFrame(latents.confused_pairs(found, means["test"]))
    for column in ("first", "second"):
        pairs[column] = [names[label] for label in pairs[column]]
    report = Path("reports/vae", variant)
    confusion = pd.DataFrame(found.confusion, columns=list(names))
    confusion.insert(0, "class", list(names))
    write_csv(report / "latents_by_class.csv", by_class)
    write_csv(report / "latents_confusion.csv", confusion)
    write_csv(report / "latents_pairs.csv", pairs)
    accuracy = float((found.neighbours == labels).mean())
    metrics = {
        **data.identity,
        "neighbours_accuracy": accuracy,
        "probe_accuracy": float((found.probe == labels).mean()),
        "silhouette": float(found.silhouette.mean()),
        "largest_class_share": float(found.confusion.sum(1).max() / len(labels)),
    }
    write_json(report / "latents.json", metrics)
    say(f"{variant}: {settings.neighbours} neighbours in the plane name {accuracy:.2%} of the test images")


if __name__ == "__main__":
    run(main)
