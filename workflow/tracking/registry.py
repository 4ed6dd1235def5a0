"""MLflow's registry of the models in `[tool.workflow.models]`, and the aliases of the best versions."""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from workflow.runs.identity import member
from workflow.runs.project import Models, project
from workflow.tracking.results import StageResult
from workflow.tracking.store import Store

if TYPE_CHECKING:  # slow to import
    from mlflow.entities import Run

FEATURE = "models and their registry"  # servers have both since MLflow 3


def log_models(store: Store, run: "Run", result: StageResult) -> bool:
    """Logs and registers those models of a run that are missing; returns whether there were any.

    The tag `registered_md5` says that all models of these weights are registered. What a person deletes after
    that stays deleted.
    """
    models, inputs = project().models, result.inputs
    if models is None or inputs.family != member(models.stage)[0] or FEATURE in store.unsupported:
        return False
    md5 = result.files[result.weights]
    if run.data.tags.get("registered_md5") == md5:
        return False
    with store.optional(FEATURE):
        return _log_models(store, models, run, result, md5)
    return False


def _log_models(store: Store, models: Models, run: "Run", result: StageResult, md5: str) -> bool:
    from mlflow.exceptions import MlflowException

    run_id = run.info.run_id
    tags = {"model_md5": md5, "variant": result.inputs.name, "input_digest": result.inputs.digest}
    ids = {}
    query = f"source_run_id = '{run_id}'"
    for model in store.client.search_logged_models([run.info.experiment_id], query):
        if model.status == "READY" and model.tags.get("model_md5") == md5:
            ids[model.name] = model.model_id
        else:  # logging was interrupted, or the weights are older
            store.client.delete_logged_model(model.model_id)
    exported: dict[str, str] = {}
    if missing := models.names.keys() - ids.keys():
        from workflow.tracking.export import export_models  # torch is slow to import, and rarely needed here

        exported = export_models(models, missing, store, run_id, result, tags)
    changed = bool(exported)
    registered = {version.source for version in store.client.search_model_versions(f"run_id='{run_id}'")}
    for name, model_id in sorted((ids | exported).items()):
        source = f"models:/{model_id}"
        if source not in registered:
            description = f"{models.names[name]}\n\n{models.description.strip()}"
            with suppress(MlflowException):  # it exists
                store.client.create_registered_model(name, description=description)
            store.client.create_model_version(name, source, run_id, tags=tags, model_id=model_id)
            changed = True
    if models.names.keys() <= (ids | exported).keys():  # otherwise the weights are missing
        store.set_tags(run, {"registered_md5": md5})
    return changed


def choose_best(store: Store, results: Sequence[StageResult]) -> None:
    """Points each alias to its best version, of those on the data that the working directory has."""
    models = project().models
    family = member(models.stage)[0] if models else ""
    first = next((result for result in results if result.inputs.family == family), None)
    if models is None or first is None or FEATURE in store.unsupported:
        return
    newest = store.find_run(store.experiment(family), first.inputs)
    if newest is None:
        return
    for name in models.names:
        runs = _versions(store, name, models, newest)
        if not runs:
            continue
        present = store.client.get_registered_model(name).aliases
        for alias, metric in models.aliases.items():
            # another held-out split is another scale: the largest one decides
            held_out = models.held_out if alias == "best" else ""
            ranked = [
                (int(run.params[held_out]) if held_out else 0, run.metrics[metric], version)
                for version, run in runs.items()
                if metric in run.metrics
            ]
            best = str(max(ranked)[-1]) if ranked else None
            if best and present.get(alias) != best:
                store.client.set_registered_model_alias(name, alias, best)
            elif best is None and alias in present:
                store.client.delete_registered_model_alias(name, alias)


def _versions(store: Store, name: str, models: Models, like: "Run") -> dict[int, Any]:
    """The data of the runs of versions, by version.

    Only of those whose weights are those of their run now, and on the data of `like`; none from the trash.
    """
    found = store.client.search_model_versions(f"name='{name}'")
    if not found:
        return {}
    ids = ", ".join(f"'{version.run_id}'" for version in found)
    experiment, query = [like.info.experiment_id], f"attributes.run_id IN ({ids})"
    runs = {run.info.run_id: run.data for run in store.client.search_runs(experiment, query)}
    return {
        int(version.version): run
        for version in found
        if (run := runs.get(version.run_id))  # otherwise it was registered by hand, or its run is gone
        and version.tags.get("model_md5") == run.tags.get("model_md5")
        and _comparable(models, run) == _comparable(models, like.data)
    }


def _comparable(models: Models, run: Any) -> list[str | None]:
    return [run.params.get(name, run.tags.get(name)) for name in models.comparable]
