"""The registry of MLflow models: `vae-encoder` and `vae-decoder`, and which versions are best; no stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.results import Found, Result
from pipeline.store import Store

TEXTS = {
    "vae-encoder": "Binary images (N, pixels) to the mean of q(z|x): points (N, 2) in the latent plane.",
    "vae-decoder": "Latents (N, 2) to E[x|z]: the probability of each pixel (N, pixels) to be 1.",
}
ALIASES = {  # by the metric that chooses
    "best": "elbo/validation.elbo",
    "best-on-test": "elbo/test.elbo",
}
HELD_OUT = "data.validation"
DESCRIPTION = (
    "{text}\n\nA version for each trained variant. The alias `best` names the one with the highest ELBO of "
    "the validation images (data.validation), of those that have some. `best-on-test` names the one with the "
    "highest test ELBO: it describes the results and is no fair choice, since it looked at the test set."
)


def log_models(store: Store, run_id: str, result: Result) -> bool:
    """Logs and registers encoder and decoder of a VAE's run, if need be; returns whether there was need."""
    of = result.of
    if of.family != "vae":
        return False
    weights = next(path for path in result.sums if path.startswith("models/"))
    ready = _ready(store, store.experiment(of.family), run_id, result.sums[weights])
    tags = {"model_md5": result.sums[weights], "variant": of.name, "input_digest": of.digest}
    changed = False
    if missing := TEXTS.keys() - ready.keys():
        from stages.models import log  # torch takes its time, and mostly nothing is missing

        logged = log(store, run_id, result, weights, missing, tags)
        ready |= logged
        changed = bool(logged)
    for name, model_id in sorted(ready.items()):
        changed |= _register(store, run_id, name, model_id, tags)
    return changed


def choose_best(store: Store, found: Mapping[str, Found]) -> None:
    """Points the aliases to the best versions, among models of the data that the working directory has."""
    here = next((one.result.of for one in found.values() if one.result.of.family == "vae"), None)
    if here is None:
        return
    data = _data(store.client.get_run(store.run_id(here)).data)
    for name in TEXTS:
        runs = {version: run for version, run in _versions(store, name) if _data(run) == data}
        known = store.client.get_registered_model(name).aliases if runs else {}
        for alias, metric in ALIASES.items():
            scored = {version: run for version, run in runs.items() if metric in run.metrics}
            if alias == "best" and scored:  # another held-out split is another scale
                size = max(int(run.params[HELD_OUT]) for run in scored.values())
                scored = {
                    version: run for version, run in scored.items() if int(run.params[HELD_OUT]) == size
                }
            best = max(scored, key=lambda version: (scored[version].metrics[metric], version), default=None)
            if best is not None and str(known.get(alias)) != str(best):
                store.client.set_registered_model_alias(name, alias, str(best))
            elif best is None and alias in known:
                store.client.delete_registered_model_alias(name, alias)


def _data(run: Any) -> tuple[str | None, str | None]:
    return run.tags.get("dataset"), run.params.get("data.threshold")


def _versions(store: Store, name: str) -> Iterator[tuple[int, Any]]:
    """Versions of the weights that their runs have, with the runs' data; not what is in the trash."""
    from mlflow.exceptions import MlflowException

    for version in store.client.search_model_versions(f"name='{name}'"):
        try:
            run = store.client.get_run(str(version.run_id))
        except MlflowException:  # registered by hand, or its run is gone
            continue
        if run.info.lifecycle_stage == "active" and version.tags.get("model_md5") == run.data.tags.get(
            "model_md5"
        ):
            yield int(version.version), run.data


def _ready(store: Store, experiment: str, run_id: str, md5: str) -> dict[str, str]:
    """The run's models by name; those half logged, or of other weights, are deleted."""
    found = {}
    for model in store.client.search_logged_models([experiment], f"source_run_id = '{run_id}'"):
        if model.status == "READY" and model.tags.get("model_md5") == md5:
            found[model.name] = model.model_id
        else:
            store.client.delete_logged_model(model.model_id)
    return found


def _register(store: Store, run_id: str, name: str, model_id: str, tags: Mapping[str, str]) -> bool:
    from mlflow.exceptions import MlflowException

    client, source = store.client, f"models:/{model_id}"
    try:
        versions = client.search_model_versions(f"name='{name}' and run_id='{run_id}'")
        if any(version.source == source for version in versions):
            return False
        client.get_registered_model(name)
    except MlflowException:
        client.create_registered_model(name, description=DESCRIPTION.format(text=TEXTS[name]))
    client.create_model_version(name, source, run_id, tags=dict(tags), model_id=model_id)
    return True
