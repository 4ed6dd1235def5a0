"""Stage train_vae@VARIANT: maximizes a lower bound of log p(x) of the binarized training images."""

import torch

from elbo.determinism import prepare, stream
from elbo.models.vae import VAE, Design
from elbo.negative_elbo import NegativeElbo, TrainingImages
from elbo.negative_iwae import NegativeIwae
from elbo.optimization import Diverged, Optimizer
from elbo.training import epochs
from stages.schema import Params, Variant
from workflow.core import dataset
from workflow.core.dataset import Dataset
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
    objective = objective_of(variant, settings, data)
    optimizer = Optimizer(objective.model, settings, objective.size)
    with Training(f"train_vae@{variant}", data.identity, optimizer) as run:
        if run.shared:
            return
        try:
            for epoch in run(epochs(objective, settings, optimizer), settings.epochs):
                elbo = {split: bounds["elbo"] for split, bounds in epoch.splits.items()}
                say(
                    f"{variant}  epoch {epoch.epoch:>3}/{settings.epochs}"
                    f"  train {elbo['train']:9.3f}  test {elbo['test']:9.3f} nats"
                    f"  {epoch.seconds:5.1f} s  {objective.size / epoch.seconds:7.0f} images/s"
                )
        except Diverged as error:
            remedy = f"lower vae.{variant}.lr, or set vae.{variant}.clip_norm"
            raise UserError(f"{error}: training diverged; {remedy}") from None
        write_csv(f"reports/vae/{variant}/training.csv", run.rows)
        about = objective.model.about | {"scale_head": "log scale", "dataset": data.name}
        write_weights(f"models/vae/{variant}.safetensors", objective.model.state_dict(), about)


def objective_of(variant: str, settings: Variant, data: Dataset) -> NegativeElbo:
    """The objective of a variant, with the initial model."""
    images, seed = data.inputs("train"), settings.seed
    held_out = {split: data.inputs(split) for split in data.splits if split != "train"}
    grey = data.intensities.get("train")
    train = TrainingImages(images, None if grey is None else torch.from_numpy(grey), seed)
    design = Design(
        settings.latent, settings.architecture.model_dump(), settings.activation, settings.posterior
    )
    try:
        model = VAE(data.shape, design, stream(seed, "init"))
    except ValueError as error:
        raise UserError(f"vae.{variant}.architecture.{error}") from None  # begins with the setting
    if settings.output_bias == "data":
        ones = (images.sum(0) + 0.5) / (len(images) + 1)  # never 0 or 1
        with torch.no_grad():
            model.decoder.bias.copy_(ones.logit())
    if settings.objective == "iwae":
        return NegativeIwae(model, train, held_out, seed, settings.input_dropout, k=settings.k)
    rising = settings.beta_warmup * settings.epochs
    return NegativeElbo(model, train, held_out, seed, settings.input_dropout, settings.beta, rising)
