"""Stage critique@VARIANT: how the classifier of images, the judge, sees a VAE's samples and the data."""

from typing import Any

import torch
from torch import Tensor

from elbo.analysis import columns, critique
from elbo.determinism import prepare, stream
from elbo.models.classifier import Classifier
from elbo.models.vae import VAE, from_prior
from stages.schema import Critique, Params
from workflow.core import dataset
from workflow.core.arrays import write_npz
from workflow.core.files import write_json
from workflow.core.params import load
from workflow.core.tables import write_csv
from workflow.core.weights import read_weights
from workflow.runs.console import progress, say


def main(variant: str) -> None:
    compute, settings, figures = load(Params, "compute", "critique", "figures")
    prepare(compute.threads)
    data = dataset.load("data/binarized.npz")
    model = VAE.from_weights(*read_weights(f"models/vae/{variant}.safetensors"))
    report = f"reports/vae/{variant}"
    few = model.decode(from_prior(figures.grid**2, model.latent, stream(figures.seed, "samples")))
    write_npz(f"data/samples/{variant}.npz", probabilities=few.numpy())
    means = model.decode(from_prior(settings.samples, model.latent, stream(settings.seed, "prior")))
    rebuilt = model.decode(model.encoder(data.inputs("test")).mean)
    metrics: dict[str, Any] = {
        **data.identity,
        "samples": settings.samples,
        "pixel_entropy": critique.mean(critique.pixel_entropy(means)),
        "pixel_entropy_of_reconstructions": critique.mean(critique.pixel_entropy(rebuilt)),
    }
    if data.labelled:
        metrics |= judged(data, few, means, rebuilt, variant, settings)
        share = f"in {metrics['unsure']:.2%} of {settings.samples:,} samples"
        say(f"{variant}: classifier confidence below {settings.sure:.0%} {share}")
    else:
        for name, header in columns.CRITIQUE.items():
            write_csv(f"{report}/{name}.csv", [], header)
        metrics["labels"] = False
        say(f"{variant}: entropy of samples {metrics['pixel_entropy']:.4f} nats per pixel")
    write_json(f"{report}/critique.json", metrics)


def judged(
    data: dataset.Dataset, few: Tensor, means: Tensor, rebuilt: Tensor, variant: str, settings: Critique
) -> dict[str, Any]:
    """Writes the judge's verdicts on a few samples, and what it makes of many, by class; returns the metrics.

    Args:
        few, means: the samples shown and the samples measured, (N, pixels) Bernoulli means.
        rebuilt: of the test images.
    """
    names, classes, report = data.classes, len(data.classes), f"reports/vae/{variant}"
    judge = Classifier.from_weights(*read_weights("models/classifier/images.safetensors"))
    train, test, labels = data.inputs("train"), data.inputs("test"), data.targets("test")
    part = iter(progress(("samples", "features"), total=2, label=variant, unit="part"))
    next(part)
    samples, reconstructions = critique.binarized(means), critique.binarized(rebuilt)
    seen, of_data, of_rebuilt = (critique.judge(judge, x) for x in (samples, test, reconstructions))
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
            "pixel_entropy": (seen.label, critique.pixel_entropy(means)),
            "pixel_entropy_of_reconstructions": (labels, critique.pixel_entropy(rebuilt)),
            "judge_error": (labels, of_data.label != labels),
            "reconstructed_as_other": (labels, of_rebuilt.label != labels),
        },
    )
    for row, other in zip(rows, critique.usual_error(labels, of_rebuilt.label, classes), strict=True):
        row["most_often_as"] = "" if other is None else names[other]
    next(part)
    count = min(settings.compared, len(test), len(samples), len(train))
    # as many training images show how far two halves of the data are apart
    chosen = torch.randperm(len(train), generator=stream(settings.seed, "train"))[:count].sort().values
    images = {"samples": samples[:count], "reconstructions": reconstructions[:count], "train": train[chosen]}
    of_test = judge.features(test[:count])
    k = settings.neighbours
    features = {kind: critique.distances(judge.features(x), of_test, k) for kind, x in images.items()}
    shown = critique.judge(judge, critique.binarized(few))
    verdicts = {
        "sample": range(1, len(shown.label) + 1),
        "verdict": [names[label] for label in shown.label.tolist()],
        "confidence": shown.confidence.tolist(),
        "sure": (shown.confidence >= settings.sure).int().tolist(),
    }
    write_csv(f"{report}/critique_by_class.csv", rows)
    write_csv(f"{report}/samples.csv", verdicts)
    return {
        "judge_error": critique.mean(of_data.label != labels),
        "histogram_distance": critique.total_variation(shares, expected),
        "histogram_distance_by_chance": critique.expected_total_variation(expected, len(samples), len(train)),
        "confidence": critique.mean(seen.confidence),
        "entropy": critique.mean(seen.entropy),
        "unsure": critique.mean(~sure),
        "unsure_of_data": critique.mean(of_data.confidence < settings.sure),
        "unsure_of_reconstructions": critique.mean(of_rebuilt.confidence < settings.sure),
        "reconstructed_as_other": critique.mean(of_rebuilt.label != labels),
        "compared": count,
        "features": features,
    }
