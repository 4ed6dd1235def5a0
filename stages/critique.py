"""Stage critique@VARIANT: how the classifier of images, the judge, sees a VAE's samples and the data."""

import torch

from elbo.analysis import critique
from elbo.determinism import prepare, stream
from elbo.models.classifier import Classifier
from elbo.models.vae import VAE, from_prior
from stages.schema import Params
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
    names, classes = data.classes, len(data.classes)
    model = VAE.from_weights(*read_weights(f"models/vae/{variant}.safetensors"))
    judge = Classifier.from_weights(*read_weights("models/classifier/images.safetensors"))
    train, test, labels = data.inputs("train"), data.inputs("test"), data.targets("test")
    part = iter(progress(("samples", "features"), total=2, label=variant, unit="part"))
    next(part)
    means = model.decode(from_prior(settings.samples, model.latent, stream(settings.seed, "prior")))
    rebuilt = model.decode(model.encoder(test).mean)
    samples, reconstructions = critique.binarized(means), critique.binarized(rebuilt)
    seen, of_data, of_rebuilt = (critique.judge(judge, x) for x in (samples, test, reconstructions))
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
    # as many training images show how far two halves of the data are apart
    chosen = torch.randperm(len(train), generator=stream(settings.seed, "train"))[:count].sort().values
    images = {"samples": samples[:count], "reconstructions": reconstructions[:count], "train": train[chosen]}
    of_test = judge.features(test[:count])
    features = {
        kind: critique.distances(judge.features(x), of_test, settings.neighbours)
        for kind, x in images.items()
    }
    metrics = {
        **data.identity,
        "samples": settings.samples,
        "judge_error": critique.mean(of_data.label != labels),
        "histogram_distance": critique.total_variation(shares, expected),
        "histogram_distance_by_chance": critique.expected_total_variation(expected, len(samples), len(train)),
        "confidence": critique.mean(seen.confidence),
        "entropy": critique.mean(seen.entropy),
        "unsure": critique.mean(~sure),
        "unsure_of_data": critique.mean(of_data.confidence < settings.sure),
        "unsure_of_reconstructions": critique.mean(of_rebuilt.confidence < settings.sure),
        "pixel_entropy": critique.mean(blur),
        "pixel_entropy_of_reconstructions": critique.mean(blur_rebuilt),
        "reconstructed_as_other": critique.mean(of_rebuilt.label != labels),
        "compared": count,
        "features": features,
    }
    few = model.decode(from_prior(figures.grid**2, model.latent, stream(figures.seed, "samples")))
    shown = critique.judge(judge, critique.binarized(few))
    verdicts = {
        "sample": range(1, len(shown.label) + 1),
        "verdict": [names[label] for label in shown.label.tolist()],
        "confidence": shown.confidence.tolist(),
        "sure": (shown.confidence >= settings.sure).int().tolist(),
    }
    write_npz(f"data/samples/{variant}.npz", probabilities=few.numpy())
    report = f"reports/vae/{variant}"
    write_csv(f"{report}/critique_by_class.csv", rows)
    write_csv(f"{report}/samples.csv", verdicts)
    write_json(f"{report}/critique.json", metrics)
    share = f"{metrics['unsure']:.2%} of {settings.samples:,} samples"
    say(f"{variant}: classifier confidence below {settings.sure:.0%} in {share}")
