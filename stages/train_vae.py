"""Stage train_vae@VARIANT: maximizes the ELBO of the binarized training images."""

from elbo.determinism import prepare, stream
from elbo.models.vae import VAE
from elbo.negative_elbo import NegativeElbo
from elbo.optimization import Diverged, Optimizer
from elbo.training import epochs
from stages.schema import Params
from workflow.core import dataset
from workflow.core.errors import UserError
from workflow.core.params import load
from workflow.core.tables import write_csv
from workflow.core.weights import write_weights
from workflow.runs.console import say
from workflow.training import Training


def main(variant: str) -> None:
    compute, settings = load(Params, "compute", f"vae.{variant}")
    prepare(compute.threads)
    data = dataset.load("data/binarized.npz")
    images = data.inputs("train")
    held_out = {split: data.inputs(split) for split in data.splits if split != "train"}
    model = VAE(data.width, settings.hidden, settings.activation, stream(settings.seed, "init"))
    optimizer = Optimizer(model, settings, len(images))
    objective = NegativeElbo(model, images, held_out, settings.seed, settings.input_dropout)
    with Training(f"train_vae@{variant}", data.identity, optimizer) as run:
        if run.shared:
            return
        try:
            for epoch in run(epochs(objective, settings, optimizer), settings.epochs):
                elbo = {split: bounds["elbo"] for split, bounds in epoch.splits.items()}
                say(
                    f"{variant}  epoch {epoch.epoch:>3}/{settings.epochs}"
                    f"  train {elbo['train']:9.3f}  test {elbo['test']:9.3f} nats"
                    f"  {epoch.seconds:5.1f} s  {len(images) / epoch.seconds:7.0f} images/s"
                )
        except Diverged as error:
            remedy = f"lower vae.{variant}.lr, or set vae.{variant}.clip_norm"
            raise UserError(f"{error}: training diverged; {remedy}") from None
        write_csv(f"reports/vae/{variant}/training.csv", run.rows)
        about = {"activation": settings.activation, "scale_head": "log scale", "dataset": data.name}
        write_weights(f"models/vae/{variant}.safetensors", model.state_dict(), about)
