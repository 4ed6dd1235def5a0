"""Trained models as MLflow models, by torch.export: they load without this project, and check their input."""

import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from workflow.core.packages import installed
from workflow.core.weights import read_weights
from workflow.runs import dvc_repo
from workflow.runs.console import warn
from workflow.runs.project import Models, imported
from workflow.tracking.results import StageResult
from workflow.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.models import Model

CODE = Path(__file__).with_name("model_code") / "checked_model.py"


def export_models(
    models: Models, names: Iterable[str], store: Store, run_id: str, result: StageResult, tags: dict[str, str]
) -> dict[str, str]:
    """Logs the models with these names to a run; returns their ids, none where the weights are missing."""
    import mlflow
    from mlflow.models import Model

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
        network, example, rule = networks[name]
        logged = Model.log(
            None,
            sys.modules[__name__],  # MLflow calls its `save_model`
            name=name,
            run_id=run_id,
            tags=tags | {"mlflow.note.content": models.names[name]},  # the description on the model's page
            network=network,
            example=example,
            rule=rule,
        )
        ids[name] = str(logged.model_id)
    return ids


def save_model(
    path: str, mlflow_model: "Model", network: torch.nn.Module, example: torch.Tensor, rule: Mapping[str, Any]
) -> None:
    """Writes a network as a PyTorch model. As a pyfunc model it checks its input (model_code/)."""
    import mlflow.pytorch
    from mlflow.models import infer_signature
    from mlflow.pyfunc import FLAVOR_NAME

    with torch.no_grad():
        signature = infer_signature(example.numpy(), network(example).numpy())
    # MLflow would refuse lists, ints and float64: it hands all to a model that checks its input by type hints
    signature._is_signature_from_type_hint = True
    mlflow_model.metadata = {"input": dict(rule)}
    mlflow.pytorch.save_model(
        network,
        path,
        mlflow_model=mlflow_model,
        code_paths=[str(CODE)],
        signature=signature,
        input_example=example.numpy(),
        pip_requirements=requirements(),
    )
    pyfunc = mlflow_model.flavors[FLAVOR_NAME] | {"loader_module": CODE.stem}
    mlflow_model.add_flavor(FLAVOR_NAME, **pyfunc).save(Path(path, "MLmodel"))


def requirements() -> list[str]:
    """The packages that a served model needs. MLflow would start a process to infer them."""
    return [f"torch=={installed('torch')}", "numpy"]
