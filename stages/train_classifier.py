"""Stage train_classifier@NAME: a classifier of the annuli, or of the binarized images, by likelihood."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import torch

from elbo import classifier
from elbo.determinism import prepare, stream
from elbo.optimization import Diverged, Optimizer
from pipeline import dataset
from pipeline.checkpoints import Checkpoints
from pipeline.console import UserError, argument, progress, run, say
from pipeline.files import write_json
from pipeline.identity import Inputs
from pipeline.params import load
from pipeline.tables import write_csv
from pipeline.tracking import live
from pipeline.turns import turn
from pipeline.weights import write_weights
from stages.schema import Classifier, Params

DATA = {"annuli": "data/annuli.npz", "images": "data/binarized.npz"}
LINES = 20  # printed of a training, however many epochs it has


def main() -> None:
    name = argument("classifier")
    compute, settings = load(Params, "compute", f"classifier.{name}")
    prepare(compute.threads)
    with turn(f"train_classifier@{name}") as mine:
        if not mine.taken:
            train(name, settings, mine.of)


def train(name: str, settings: Classifier, of: Inputs) -> None:
    """Trains, from a checkpoint where there is one; writes curve, predictions, metrics and weights."""
    data = dataset.load(DATA[name])
    pairs = {split: (data.inputs(split), data.targets(split)) for split in data.splits}
    # the notebook seeds the annuli's network as it seeds their points, and not by a named stream
    init = torch.Generator().manual_seed(settings.seed)
    if name != "annuli":
        init = stream(settings.seed, "init")
    model = classifier.Classifier(data.width, settings.hidden, len(data.classes), settings.activation, init)
    held_out = {split: pair for split, pair in pairs.items() if split != "train"}
    optimizer = Optimizer(model, settings, len(pairs["train"][0]))
    kept = Checkpoints(of)
    rows = kept.resume(optimizer.load)
    with live(of, data.identity, rows) as tracker:
        steps = classifier.epochs(model, pairs["train"], held_out, settings, optimizer)
        bar = progress(steps, total=settings.epochs, done=len(rows), label=name, unit="epoch")
        try:
            for epoch in bar:
                rows.append(epoch.row)
                tracker.log(epoch.row)
                kept.save(rows, optimizer.state)
                if epoch.epoch * LINES % settings.epochs < LINES:
                    figures = "  ".join(
                        f"{split} {pair['nll']:.4f} nats {pair['accuracy']:.2%}"
                        for split, pair in epoch.splits.items()
                    )
                    say(f"{name}  epoch {epoch.epoch:>4}/{settings.epochs}  {figures}")
        except Diverged as error:
            raise UserError(f"{error}: training diverged; lower classifier.{name}.lr") from None
    report = Path("reports/classifier", name)
    write_csv(report / "training.csv", pd.DataFrame(rows))
    split = data.splits[-1]
    inputs, labels = pairs[split]
    with torch.no_grad():
        predicted = classifier.predictions(model(inputs))
    names = pd.Series(data.classes)
    table = {"actual": names[labels.numpy()].values, "predicted": names[predicted.numpy()].values}
    write_csv(report / "predictions.csv", pd.DataFrame(table))
    about = {"split": split, "examples": len(labels)}
    score = classifier.score(model, inputs, labels)
    write_json(report / "metrics.json", data.identity | about | score)
    write_json(Path("reports/metrics/classifier", f"{name}.json"), {"accuracy": score["accuracy"]})
    about = {"activation": settings.activation, "dataset": data.name}
    path = Path("models/classifier", f"{name}.safetensors")
    write_weights(path, model.state_dict(), json.dumps(about, sort_keys=True))


if __name__ == "__main__":
    run(main)
