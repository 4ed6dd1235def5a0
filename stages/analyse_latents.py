"""Stage analyse_latents@VARIANT: which classes overlap in the latent plane, and what straight lines show."""

from functools import partial

import pandas as pd
import torch

from elbo.analysis import interpolation, latents
from elbo.determinism import prepare, stream
from elbo.models.classifier import Classifier
from elbo.models.vae import VAE, from_prior, straight_lines
from stages.schema import Params
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
    names, labels = list(data.classes), data.labels["test"]
    model = VAE.from_weights(*read_weights(f"models/vae/{variant}.safetensors"))
    judge = Classifier.from_weights(*read_weights("models/classifier/images.safetensors"))
    part = iter(progress(("neighbours", "lines"), total=2, label=variant, unit="part"))
    next(part)
    means = {split: model.encoder(data.inputs(split)).mean for split in ("train", "test")}
    points = means["test"].numpy()
    train = means["train"].numpy(), data.labels["train"]
    k, most = separation.neighbours, separation.silhouette_images
    found = latents.separate(train, (points, labels), len(names), k, most)
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
    report = f"reports/vae/{variant}"
    confusion = pd.DataFrame(found.confusion, pd.Index(names, name="class"), names).reset_index()
    write_csv(f"{report}/latents_by_class.csv", by_class)
    write_csv(f"{report}/latents_confusion.csv", confusion)
    write_csv(f"{report}/latents_pairs.csv", pairs)
    accuracy = float((found.neighbours == labels).mean())
    metrics = data.identity | {
        "neighbours_accuracy": accuracy,
        "probe_accuracy": float((found.probe == labels).mean()),
        "silhouette": float(found.silhouette.mean()),
        "largest_class_share": float(found.confusion.sum(1).max() / len(labels)),
    }
    write_json(f"{report}/latents.json", metrics)

    next(part)

    def draw_ends(seed: int, count: int) -> list[torch.Tensor]:
        return [
            from_prior(count, model.latent, stream(seed, f"interpolation {end}"))
            for end in ("starts", "ends")
        ]

    follow = partial(interpolation.follow, model, judge, steps=figures.steps, sure=lines.sure)
    first, last = draw_ends(figures.seed, figures.rows)
    shown, many = follow(first, last), follow(*draw_ends(lines.seed, lines.pairs))
    paths = model.decode(straight_lines(first, last, figures.steps).flatten(0, 1))
    write_npz(f"data/lines/{variant}.npz", probabilities=paths.numpy())
    joined, of_centres = interpolation.between_centres(follow, means["train"], data.targets("train"))
    write_csv(f"{report}/interpolation_lines.csv", interpolation.by_step(names, shown))
    write_csv(f"{report}/interpolation_pairs.csv", interpolation.by_pair(names, joined, of_centres, many))
    summaries = data.identity | {
        "steps": figures.steps,
        "shown": shown.summary(),
        "random": {"lines": lines.pairs, **many.summary()},
        "centres": {"lines": len(joined), **of_centres.summary()},
    }
    write_json(f"{report}/interpolations.json", summaries)
    unsure = (~many.sure).double().mean()
    say(
        f"{variant}: neighbours classify {accuracy:.2%} of the test images correctly;"
        f" classifier confidence below {lines.sure:.0%} in {unsure:.2%} of the steps on lines"
    )
