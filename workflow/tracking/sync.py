"""Completes MLflow's runs from the files. A second time, it adds nothing."""

import csv
import json
import math
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from workflow.core.files import read_json
from workflow.runs import dvc_repo
from workflow.runs.console import say, warn
from workflow.runs.identity import main_repository
from workflow.runs.locks import remove_old_results
from workflow.runs.project import project
from workflow.tracking.live import OFF, commit_tags, explain, git_output, report_faults, tracking_uri
from workflow.tracking.registry import choose_best, log_models
from workflow.tracking.results import StageResult, all_results
from workflow.tracking.store import Store, relocate_artifacts
from workflow.tracking.tracker import drain


def complete(*, committed: bool = False) -> bool:
    """Completes the runs of all results, those of experiments included; returns False if anything failed.

    `committed` includes results that only git has, which were neither computed nor pulled here.
    """
    root = main_repository()
    if tracking_uri(root) == OFF:
        say("MLflow: switched off (MLFLOW_TRACKING_URI=none)")
        return True
    results = all_results(committed=committed)
    if not results:
        say("MLflow: no trained models yet; run `dvc repro`")
    for path in second_stores():
        warn(f"{path} is a second store, without these runs: `mlflow ui` created it there; delete it")
    try:
        store = Store()
        drain(store)
        report_faults(root)
        with store.sync_lock:  # the second of two processes finds what the first has done
            return _complete(store, results)
    except Exception as error:  # whatever MLflow, its database or its server raises
        report_faults(root)
        warn(explain(error))
        return False


def _complete(store: Store, results: Sequence[StageResult]) -> bool:
    for family in relocate_artifacts(store):
        say(f"MLflow: artifact paths of experiment {family} corrected: they are in this folder now")
    for stage in store.close_killed():
        say(f"MLflow: the run of {stage} is closed: it was killed")
    remove_old_results(store.root)
    changed: dict[str, list[bool]] = {}
    accepted = True
    for result in results:
        try:
            changed.setdefault(result.inputs.family, []).append(sync_run(store, result))
        except FileNotFoundError as error:  # lost from git or from DVC's cache; other runs have theirs
            warn(f"MLflow: the run of {result.inputs.stage} is not complete: {error}")
            accepted = False
    choose_best(store, results)
    if runs := [run for family in changed.values() for run in family]:
        what = f"{sum(runs)} of {len(runs)} runs completed" if any(runs) else f"{len(runs)} runs are complete"
        families = ", ".join(f"{family} {len(found)}" for family, found in sorted(changed.items()))
        say(f"MLflow: {what} ({families})")
    return accepted


def second_stores() -> list[str]:
    """Stores in subfolders: `mlflow ui` creates one where it is started (mlflow #24130)."""
    found = git_output("ls-files", "--others", "--exclude-standard", "--", ":(glob)*/**/mlflow.db")
    return found.splitlines()


def sync_run(store: Store, result: StageResult) -> bool:
    """Completes the run of a result from the files; returns whether anything was missing."""
    inputs = result.inputs
    run_id = store.run_id(inputs)
    run = store.client.get_run(run_id)
    tags = run.data.tags
    if run.info.status == "RUNNING" and "host" in tags:  # in training: the next time, then
        return False
    weights_md5 = result.files.get(result.weights, "")
    if store.shared and weights_md5 and tags.get("model_md5", weights_md5) != weights_md5:
        warn(f"MLflow: the run of {inputs.stage} has weights of another machine, and is left as it is")
        return False
    # where others share the store, a name that this clone does not know may be theirs
    store.set_experiments(run_id, result.experiments, keep=store.shared)
    if result.commits and (tags.get("git_commit") not in result.commits or tags.get("git_dirty") != "false"):
        store.set_tags(run_id, commit_tags(result.commits[0]))
    if tags.get("mirrored") == result.state and run.info.status == "FINISHED":
        return log_models(store, run_id, result)
    store.log_params(run_id, inputs)
    _log_reports(store, run_id, result)
    store.set_tags(run_id, {"model_md5": weights_md5, "data_md5": inputs.files.get(result.data, "")})
    log_models(store, run_id, result)
    if run.info.status != "FINISHED":
        store.end(run_id, "FINISHED")
    store.set_tags(run_id, {"mirrored": result.state})
    return True


def _log_reports(store: Store, run_id: str, result: StageResult) -> None:
    """Logs the files in reports/ as artifacts, and what they hold as curves, metrics and tags."""
    curves, untracked = project().curves, project().untracked
    with dvc_repo.repository(result.revision) as repo, tempfile.TemporaryDirectory() as folder:
        # curves first: a run's page shows metrics in the order of their logging
        for path in sorted(map(Path, result.files), key=lambda path: (path.name not in curves, path)):
            if path.parts[0] != "reports" or (untracked and path.is_relative_to(untracked)):
                continue
            local = Path(folder, path.name)
            repo.dvcfs.get_file(str(path), str(local))
            if step := curves.get(path.name):
                table = csv.DictReader(local.read_text("utf-8").splitlines())
                rows = [{key: float(value) for key, value in row.items() if value} for row in table]
                now = int(time.time() * 1000)
                store.log_rows(run_id, [(now, row) for row in rows], store.curves(run_id), step)
                _log_metrics(store, run_id, best_values(rows, step).items())
            elif path.suffix == ".json":
                _log_numbers(store, run_id, result, path.stem, read_json(local))
            store.client.log_artifact(run_id, str(local), "figures" if path.suffix == ".png" else None)


def best_values(rows: Sequence[Mapping[str, float]], step: str) -> dict[str, float]:
    """The best value of each column in `[tool.workflow.best]`, and the step of the first of them."""
    found: dict[str, float] = {}
    for column, order in project().best.items():
        known = [row for row in rows if not math.isnan(row.get(column, math.nan))]
        if known:
            row = (max if order == "max" else min)(known, key=itemgetter(column))
            found.setdefault(f"best_{step}", row[step])
            found[f"best_{column}"] = row[column]
    return found


def _log_metrics(store: Store, run_id: str, pairs: Iterable[tuple[str, float]]) -> None:
    """Logs the metrics that the run lacks, or has with another value."""
    from mlflow.entities import Metric

    logged, now = store.client.get_run(run_id).data.metrics, int(time.time() * 1000)
    metrics = [Metric(key, value, now, 0) for key, value in pairs if logged.get(key) != value]
    store.client.log_batch(run_id, metrics=metrics)


def _log_numbers(store: Store, run_id: str, result: StageResult, name: str, content: dict[str, Any]) -> None:
    """Logs the chosen numbers of a file as metrics `<file>/<path>`, its texts as tags, and its dataset."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    is_metric = project().is_metric
    _log_metrics(store, run_id, (pair for pair in numbers(content, f"{name}/") if is_metric(pair[0])))
    store.set_tags(run_id, {key: value for key, value in content.items() if isinstance(value, str)})
    run = store.client.get_run(run_id)
    if "dataset" in content and not (run.inputs and run.inputs.dataset_inputs):
        source = json.dumps({"path": result.data, "md5": result.inputs.files.get(result.data, "")})
        dataset = Dataset(content["dataset"], content["dataset_digest"], "dvc", source)
        used = DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])
        store.client.log_inputs(run_id, datasets=[used])


def numbers(value: Any, prefix: str) -> Iterator[tuple[str, float]]:
    """The numbers in nested objects and lists, with their keys joined by dots."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        for key, item in value.items():
            yield from numbers(item, f"{prefix}{key}.")
    elif isinstance(value, int | float):
        yield prefix.removesuffix("."), float(value)
