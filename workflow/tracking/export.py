"""Trained models as MLflow models, by torch.export: they load without this project's code."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch

from workflow.core.packages import installed
from workflow.core.weights import read_weights
from workflow.runs import dvc_repo
from workflow.runs.console import warn
from workflow.runs.project import Models, imported
from workflow.tracking.results import StageResult
from workflow.tracking.store import Store


def export_models(
    models: Models, names: Iterable[str], store: Store, run_id: str, result: StageResult, tags: dict[str, str]
) -> dict[str, str]:
    """Logs the models with these names to a run; returns their ids, none where the weights are missing."""
    import mlflow
    import mlflow.pytorch
    from mlflow.models import Model, infer_signature

    with tempfile.TemporaryDirectory() as folder, dvc_repo.repository(result.revision) as repo:
        local = Path(folder, "weights.safetensors")
        try:
            repo.dvcfs.get_file(result.weights, str(local))
        except OSError as error:  # neither DVC's cache nor a remote has it
            remedy = "try `dvc pull`" if repo.config["remote"] else "run `dvc repro`"
            warn(f"MLflow: no model for {result.inputs.stage}: its weights are missing ({error}); {remedy}")
            return {}
        networks = imported(models.networks)(*read_weights(local))
    mlflow.set_tracking_uri(store.uri)
    mlflow.set_experiment(experiment_id=store.experiment(result.inputs.family))
    ids = {}
    for name in names:
        network, example = networks[name]
        with torch.no_grad():
            signature = infer_signature(example.numpy(), network(example).numpy())
        logged = Model.log(
            None,
            mlflow.pytorch,
            name=name,
            run_id=run_id,
            tags=tags,
            pytorch_model=network,
            signature=signature,
            input_example=example.numpy(),
            pip_requirements=requirements(),
        )
        ids[name] = str(logged.model_id)
    return ids


def requirements() -> list[str]:
    """The packages that a served model needs. MLflow would start a process to infer them."""
    return [f"torch=={installed('torch')}", "numpy"]
