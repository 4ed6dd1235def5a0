"""Stage train_vae@VARIANT: maximizes the ELBO of the binarized training images."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from elbo import training
from elbo.determinism import prepare, stream
from elbo.optimization import Diverged, Optimizer
from elbo.vae import VAE
from pipeline import dataset
from pipeline.checkpoints import Checkpoints
from pipeline.console import UserError, argument, progress, run, say
from pipeline.identity import Inputs
from pipeline.params import load
from pipeline.tables import write_csv
from pipeline.tracking import live
from pipeline.turns import turn
from pipeline.weights import write_weights
from stages.schema import Params, Variant


def main() -> None:
    variant = argument("variant of vae")
    compute, settings = load(Params, "compute", f"vae.{variant}")
    prepare(compute.threads)
    with turn(f"train_vae@{variant}") as mine:
        if not mine.taken:
            train(variant, settings, mine.of)


def train(variant: str, settings: Variant, of: Inputs) -> None:
    """Trains, from a checkpoint where there is one, and writes the curve and the weights."""
    data = dataset.load("data/binarized.npz")
    model = VAE(data.width, settings.hidden, settings.activation, stream(settings.seed, "init"))
    held_out = {split: data.inputs(split) for split in data.splits if split != "train"}
    images = data.inputs("train")
    optimizer = Optimizer(model, settings, len(images))
    kept = Checkpoints(of)
    rows = kept.resume(optimizer.load)
    with live(of, data.identity, rows) as tracker:
        steps = training.epochs(model, images, held_out, settings, optimizer)
        bar = progress(steps, total=settings.epochs, done=len(rows), label=variant, unit="epoch")
        try:
            for epoch in bar:
                rows.append(epoch.row)
                tracker.log(epoch.row)
                kept.save(rows, optimizer.state)
                say(
                    f"{variant}  epoch {epoch.epoch:>3}/{settings.epochs}"
                    f"  train {epoch.train['elbo']:9.3f}  test {epoch.held_out['test']['elbo']:9.3f} nats"
                    f"  {epoch.seconds:5.1f} s  {len(data.labels['train']) / epoch.seconds:7.0f} images/s"
                )
        except Diverged as error:
            raise UserError(
                f"{error}: training diverged; lower vae.{variant}.lr, or set vae.{variant}.clip_norm"
            ) from None
    write_csv(Path("reports/vae", variant, "training.csv"), pd.DataFrame(rows))
    about = {"activation": settings.activation, "scale_head": "log scale", "dataset": data.name}
    weights = model.state_dict()
    write_weights(Path("models/vae", f"{variant}.safetensors"), weights, json.dumps(about, sort_keys=True))


if __name__ == "__main__":
    run(main)
