"""Stage critique@VARIANT: what the images' classifier makes of samples of a VAE, beside the data."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from elbo import critique
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
    compute, settings, figures, activation, of_judge = load(
        Params, "compute", "critique", "figures", f"vae.{variant}.activation", "classifier.images.activation"
    )
    prepare(compute.threads)
    data = dataset.load("data/binarized.npz")
    names, classes = data.classes, len(data.classes)
    model = VAE.from_weights(read_weights(Path("models/vae", f"{variant}.safetensors")), activation)
    judge = Classifier.from_weights(read_weights("models/classifier/images.safetensors"), of_judge)
    test, labels = data.inputs("test"), data.targets("test")
    train = data.inputs("train")
    part = iter(progress(("samples", "features"), total=2, label=variant, unit="part"))
    next(part)
    means = model.decode(from_prior(settings.samples, stream(settings.seed, "prior")))
    rebuilt = model.decode(model.encoder(test)[0])
    samples = critique.binarized(means)
    seen, of_data, of_rebuilt = (
        critique.judge(judge, x) for x in (samples, test, critique.binarized(rebuilt))
    )
    blur, blur_rebuilt = critique.pixel_entropy(means), critique.pixel_entropy(rebuilt)
    sure = seen.confidence >= settings.sure
    shares = critique.histogram(seen.label, classes)
    expected = critique.histogram(data.targets("train"), classes)
    rows = critique.by_class(
        names,
        {"share": shares, "share_of_data": expected},
        {
            "confidence": (seen.label, seen.confidence),
            "entropy": (seen.label, seen.entropy),
            "unsure": (seen.label, ~sure),
            "pixel_entropy": (seen.label, blur),
            "pixel_entropy_of_reconstructions": (labels, blur_rebuilt),
            "judge_error": (labels, of_data.label != labels),
            "reconstructed_as_other": (labels, of_rebuilt.label != labels),
        },
    )
    for row, other in zip(rows, critique.usual_error(labels, of_rebuilt.label, classes), strict=True):
        row["most_often_as"] = "" if other is None else names[other]
    next(part)
    count = min(settings.compared, len(test), len(samples), len(train))
    # a choice of train as large as what is compared: what two halves of the data would show
    chosen = torch.randperm(len(train), generator=stream(settings.seed, "train"))[:count].sort().values
    features = {
        "samples": judge.features(samples[:count]),
        "reconstructions": judge.features(critique.binarized(rebuilt)[:count]),
        "train": judge.features(train[chosen]),
    }
    of_test = judge.features(test[:count])
    metrics = {
        **data.identity,
        "samples": settings.samples,
        "judge_error": critique.mean(of_data.label != labels),
        "histogram_distance": critique.total_variation(shares, expected),
        "histogram_distance_by_chance": critique.expected_total_variation(
            expected, settings.samples, len(data.labels["train"])
        ),
        "confidence": critique.mean(seen.confidence),
        "entropy": critique.mean(seen.entropy),
        "unsure": critique.mean(~sure),
        "unsure_of_data": critique.mean(of_data.confidence < settings.sure),
        "unsure_of_reconstructions": critique.mean(of_rebuilt.confidence < settings.sure),
        "pixel_entropy": critique.mean(blur),
        "pixel_entropy_of_reconstructions": critique.mean(blur_rebuilt),
        "reconstructed_as_other": critique.mean(of_rebuilt.label != labels),
        "compared": count,
        "features": {
            name: critique.distances(of, of_test, settings.neighbours) for name, of in features.items()
        },
    }
    few = from_prior(figures.grid**2, stream(figures.seed, "samples"))
    shown = critique.judge(judge, critique.binarized(model.decode(few)))
    verdicts = {
        "sample": range(1, len(shown.label) + 1),
        "verdict": [names[label] for label in shown.label.tolist()],
        "confidence": shown.confidence.tolist(),
        "sure": (shown.confidence >= settings.sure).int().tolist(),
    }
    report = Path("reports/vae", variant)
    write_csv(report / "critique_by_class.csv", pd.DataFrame(rows))
    write_csv(report / "samples.csv", pd.DataFrame(verdicts))
    write_json(report / "critique.json", metrics)
    say(f"{variant}: the judge is undecided in {metrics['unsure']:.2%} of {settings.samples} samples")


if __name__ == "__main__":
    run(main)
