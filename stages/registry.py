"""The registry of MLflow models: `vae-encoder` and `vae-decoder`, and which versions are best; no stage."""

from __future__ import annotations

from pipeline.results import Result
from pipeline.tracking import Store

TEXTS = {
    "vae-encoder": "Binary images (N, pixels) to the mean of q(z|x): points (N, 2) in the latent plane.",
    "vae-decoder": "Latents (N, 2) to E[x|z]: the probability of each pixel (N, pixels) to be 1.",
}
ALIASES = {  # by the metric that chooses
    "best": "elbo.validation.elbo",
    "best-on-test": "elbo.test.elbo",
}
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
    changed = False
    if missing := TEXTS.keys() - ready.keys():
        from stages.models import log  # torch takes its time, and mostly nothing is missing

        tags = {"model_md5": result.sums[weights], "variant": of.name, "input_digest": of.digest}
        logged = log(store, run_id, result, weights, missing, tags)
        ready |= logged
        changed = bool(logged)
    for name, model_id in sorted(ready.items()):
        changed |= _register(store, run_id, name, model_id, of.name)
    return changed


def choose_best(store: Store) -> None:
    """Points the aliases to the best versions, among models of the data that the latest version has."""
    for name in TEXTS:
        versions = store.client.search_model_versions(f"name='{name}'")
        runs = {item.version: store.client.get_run(str(item.run_id)).data for item in versions}
        if not runs:
            continue
        latest = runs[max(runs, key=int)].tags.get("dataset")
        known = store.client.get_registered_model(name).aliases
        for alias, metric in ALIASES.items():
            scores = {
                version: data.metrics[metric]
                for version, data in runs.items()
                if metric in data.metrics and data.tags.get("dataset") == latest
            }
            best = max(scores, key=lambda version: (scores[version], -int(version)), default=None)
            if best and str(known.get(alias)) != str(best):
                store.client.set_registered_model_alias(name, alias, best)


def _ready(store: Store, experiment: str, run_id: str, md5: str) -> dict[str, str]:
    """The run's models by name; those half logged, or of other weights, are deleted."""
    found = {}
    for model in store.client.search_logged_models([experiment], f"source_run_id = '{run_id}'"):
        if model.status == "READY" and model.tags.get("model_md5") == md5:
            found[model.name] = model.model_id
        else:
            store.client.delete_logged_model(model.model_id)
    return found


def _register(store: Store, run_id: str, name: str, model_id: str, variant: str) -> bool:
    from mlflow.exceptions import MlflowException

    client, source = store.client, f"models:/{model_id}"
    try:
        versions = client.search_model_versions(f"name='{name}' and run_id='{run_id}'")
        if any(version.source == source for version in versions):
            return False
        client.get_registered_model(name)
    except MlflowException:
        client.create_registered_model(name, description=DESCRIPTION.format(text=TEXTS[name]))
    client.create_model_version(name, source, run_id, tags={"variant": variant}, model_id=model_id)
    return True
