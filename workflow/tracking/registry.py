"""MLflow's registry of the models in `[tool.workflow.models]`, and the aliases of the best versions."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from workflow.runs.identity import member
from workflow.runs.project import Models, project
from workflow.tracking.results import StageResult
from workflow.tracking.store import Store


def log_models(store: Store, run_id: str, result: StageResult) -> bool:
    """Logs and registers those models of a run that are missing; returns whether there were any."""
    from mlflow.exceptions import MlflowException

    models, inputs = project().models, result.inputs
    if models is None or inputs.family != member(models.stage)[0]:
        return False
    md5 = result.files[result.weights]
    tags = {"model_md5": md5, "variant": inputs.name, "input_digest": inputs.digest}
    ids = {}
    query = f"source_run_id = '{run_id}'"
    for model in store.client.search_logged_models([store.experiment(inputs.family)], query):
        if model.status == "READY" and model.tags.get("model_md5") == md5:
            ids[model.name] = model.model_id
        else:  # logging was interrupted, or the weights are older
            store.client.delete_logged_model(model.model_id)
    exported: dict[str, str] = {}
    if missing := models.names.keys() - ids.keys():
        from workflow.tracking.export import export_models  # torch is slow to import, and rarely needed here

        exported = export_models(models, missing, store, run_id, result, tags)
    changed = bool(exported)
    for name, model_id in sorted((ids | exported).items()):
        source = f"models:/{model_id}"
        versions = store.client.search_model_versions(f"name='{name}' and run_id='{run_id}'")
        if all(version.source != source for version in versions):
            description = f"{models.names[name]}\n\n{models.description.strip()}"
            with suppress(MlflowException):  # it exists
                store.client.create_registered_model(name, description=description)
            store.client.create_model_version(name, source, run_id, tags=tags, model_id=model_id)
            changed = True
    return changed


def choose_best(store: Store, results: Sequence[StageResult]) -> None:
    """Points each alias to its best version, of those on the data that the working directory has."""
    models = project().models
    family = member(models.stage)[0] if models else ""
    first = next((result for result in results if result.inputs.family == family), None)
    if models is None or first is None:
        return
    data = _comparable(models, store.client.get_run(store.run_id(first.inputs)).data)
    for name in models.names:
        runs = {version: run for version, run in _versions(store, name) if _comparable(models, run) == data}
        for alias, metric in models.aliases.items() if runs else ():
            # another held-out split is another scale: the largest one decides
            held_out = models.held_out if alias == "best" else ""
            ranked = [
                (int(run.params[held_out]) if held_out else 0, run.metrics[metric], version)
                for version, run in runs.items()
                if metric in run.metrics
            ]
            if ranked:
                store.client.set_registered_model_alias(name, alias, str(max(ranked)[-1]))
            else:
                store.client.delete_registered_model_alias(name, alias)


def _comparable(models: Models, run: Any) -> list[str | None]:
    return [run.params.get(name, run.tags.get(name)) for name in models.comparable]


def _versions(store: Store, name: str) -> Iterator[tuple[int, Any]]:
    """The versions whose weights are those of their run now, with the run's data; none from the trash."""
    from mlflow.exceptions import MlflowException

    for version in store.client.search_model_versions(f"name='{name}'"):
        try:
            run = store.client.get_run(str(version.run_id))
        except MlflowException:  # registered by hand, or the run is gone
            continue
        current = version.tags.get("model_md5") == run.data.tags.get("model_md5")
        if current and run.info.lifecycle_stage == "active":
            yield int(version.version), run.data
