"""Stage train_classifier@NAME: a classifier of the annuli, or of the binarized images, by likelihood."""

import torch

from elbo.determinism import prepare, stream
from elbo.models.classifier import Classifier, predictions
from elbo.negative_log_likelihood import NegativeLogLikelihood, score
from elbo.optimization import Diverged, Optimizer
from elbo.training import epochs, require_finite
from stages.schema import Params
from workflow.core import dataset
from workflow.core.errors import UserError
from workflow.core.files import write_json
from workflow.core.params import load
from workflow.core.tables import write_csv
from workflow.core.weights import write_weights
from workflow.runs.console import say
from workflow.training import Training

DATA = {"annuli": "data/annuli.npz", "images": "data/binarized.npz"}
LINES = 20  # printed for a training, however many epochs it has


def main(name: str) -> None:
    compute, settings = load(Params, "compute", f"classifier.{name}")
    prepare(compute.threads)
    data = dataset.load(DATA[name])
    if not data.labelled:
        write_nothing(name, data)
        return
    pairs = {split: (data.inputs(split), data.targets(split)) for split in data.splits}
    held_out = {split: pair for split, pair in pairs.items() if split != "train"}
    # the notebook seeds the annuli's network as it seeds their points, not by a named stream
    init = torch.Generator().manual_seed(settings.seed) if name == "annuli" else stream(settings.seed, "init")
    model = Classifier(data.width, settings.hidden, len(data.classes), settings.activation, init)
    optimizer = Optimizer(model, settings, len(pairs["train"][0]))
    dropout = settings.input_dropout, settings.dropout
    objective = NegativeLogLikelihood(model, pairs["train"], held_out, settings.seed, *dropout)
    about = {"activation": settings.activation, "dataset": data.name}
    untrained = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with Training(f"train_classifier@{name}", data.identity, optimizer) as run:
        if run.shared:
            return
        try:
            for epoch in run(epochs(objective, settings, optimizer), settings.epochs):
                if epoch.epoch * LINES % settings.epochs < LINES:
                    scores = [
                        f"{split} {score['nll']:.4f} nats {score['accuracy']:.2%}"
                        for split, score in epoch.splits.items()
                    ]
                    say("  ".join([f"{name}  epoch {epoch.epoch:>4}/{settings.epochs}", *scores]))
            split = data.splits[-1]
            inputs, labels = pairs[split]
            final = score(model, inputs, labels)
            require_finite(split, final, settings.epochs)
        except Diverged as error:
            raise UserError(f"{error}: training diverged; lower classifier.{name}.lr") from None
        write_csv(f"reports/classifier/{name}/training.csv", run.rows)
        with torch.no_grad():
            predicted = predictions(model(inputs))
        columns = {"actual": labels.tolist(), "predicted": predicted.tolist()}
        table = {key: [data.classes[label] for label in column] for key, column in columns.items()}
        write_csv(f"reports/classifier/{name}/predictions.csv", table)
        metrics = {"split": split, "examples": len(labels), **final}
        write_json(f"reports/classifier/{name}/metrics.json", data.identity | metrics)
        write_json(f"reports/metrics/classifier/{name}.json", {"accuracy": metrics["accuracy"]})
        write_weights(f"models/classifier/{name}_untrained.safetensors", untrained, about)
        write_weights(f"models/classifier/{name}.safetensors", model.state_dict(), about)


def write_nothing(name: str, data: dataset.Dataset) -> None:
    """The outputs without a classifier, since the data have no labels to learn."""
    report = f"reports/classifier/{name}"
    write_csv(f"{report}/training.csv", [], ["epoch"])
    write_csv(f"{report}/predictions.csv", [], ["actual", "predicted"])
    write_json(f"{report}/metrics.json", data.identity | {"labels": False})
    write_json(f"reports/metrics/classifier/{name}.json", {"labels": False})
    for suffix in ("", "_untrained"):
        about = {"dataset": data.name, "untrained": "the data have no labels"}
        write_weights(f"models/classifier/{name}{suffix}.safetensors", {}, about)
    say(f"{name}: no classifier, since {data.name} has no labels")
