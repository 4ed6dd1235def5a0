"""Trained VAEs as MLflow models: no stage, and part of `python -m stages.track`.

The encoder's mean and the decoder, as torch.export has them: they load without this project's code.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from elbo.vae import LATENT, VAE, Decoder, Encoder
from pipeline.console import warn
from pipeline.packages import installed
from pipeline.results import Result
from pipeline.store import Store

EXAMPLES = 3  # of one, torch.export would take the size of the batch for a constant


class Mean(nn.Module):
    """Images (N, pixels) to the mean of q(z|x), (N, 2)."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        loc: Tensor = self.encoder(x)[0]
        return loc


class Probabilities(nn.Module):
    """Latents (N, 2) to E[x|z], (N, pixels)."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, z: Tensor) -> Tensor:
        x: Tensor = self.decoder(z)
        return x.sigmoid()


def log(
    store: Store, run_id: str, result: Result, weights: str, names: Collection[str], tags: Mapping[str, str]
) -> dict[str, str]:
    """Logs the named models of a run; returns their ids, of none where the weights cannot be had.

    Args:
        weights: their path among the result's files.
    """
    import mlflow
    import mlflow.pytorch
    from mlflow.models import Model, infer_signature

    model = _load(result, weights)
    if model is None:
        return {}
    mlflow.set_tracking_uri(store.uri)
    mlflow.set_experiment(experiment_id=store.experiment(result.of.family))
    ids = {}
    for name, network, example in _networks(model):
        if name in names:
            with torch.no_grad():
                signature = infer_signature(example.numpy(), network(example).numpy())
            logged = Model.log(
                None,
                mlflow.pytorch,
                name=name,
                run_id=run_id,
                tags=dict(tags),
                pytorch_model=network,
                signature=signature,
                input_example=example.numpy(),
                pip_requirements=requirements(),
            )
            ids[name] = str(logged.model_id)
    return ids


def requirements() -> list[str]:
    """What a served model needs; to infer it takes MLflow a process of its own."""
    return [f"torch=={installed('torch')}", "numpy"]


def _networks(model: VAE) -> list[tuple[str, nn.Module, Tensor]]:
    pixels = model.encoder.fc1.in_features
    return [
        ("vae-encoder", _exportable(Mean(model.encoder)), torch.zeros(EXAMPLES, pixels)),
        ("vae-decoder", _exportable(Probabilities(model.decoder)), torch.zeros(EXAMPLES, LATENT)),
    ]


def _exportable(network: nn.Module) -> nn.Module:
    """A copy with plain linear layers: torch.export cannot write oneDNN's, which is private to torch."""
    network = copy.deepcopy(network)
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Linear):
                plain = nn.Linear(layer.in_features, layer.out_features, device="meta")
                plain.weight, plain.bias = layer.weight, layer.bias
                setattr(parent, name, plain)
    return network.eval()


def _load(result: Result, path: str) -> VAE | None:
    from safetensors import safe_open

    with tempfile.TemporaryDirectory() as folder, result.files() as files:
        local = Path(folder, "weights.safetensors")
        try:
            files.get_file(path, str(local))
        except OSError as error:  # DVC's cache may have lost it, and no remote has it
            remedy = "`dvc pull` may bring them" if files.repo.config["remote"] else "`dvc repro` makes them"
            warn(f"MLflow: the run of {result.of.stage} gets no model: no weights ({error}); {remedy}")
            return None
        with safe_open(local, "pt") as file:
            about = json.loads(file.metadata()["about"])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return VAE.from_weights(weights, about["activation"])
