"""Completes MLflow's runs from the files. A second time, it adds nothing."""

import csv
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflow.core.files import read_json
from workflow.runs import dvc_repo
from workflow.runs.console import say, warn
from workflow.runs.identity import main_repository
from workflow.runs.locks import remove_old_results
from workflow.runs.project import project
from workflow.tracking.live import OFF, commit_tags, explain, git_output, reason, report_faults, tracking_uri
from workflow.tracking.registry import choose_best, log_models
from workflow.tracking.results import StageResult, all_results
from workflow.tracking.store import InTrash, Store, relocate_artifacts
from workflow.tracking.tracker import drain

if TYPE_CHECKING:  # slow to import
    from mlflow.entities import Run


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
    trash: dict[str, list[str]] = {}  # stages with what is in the trash, by its kind
    failed: dict[str, list[str]] = {}  # stages by what failed
    try:
        for result in results:
            stage = result.inputs.stage
            try:
                was_incomplete = sync_run(store, result)
                changed.setdefault(result.inputs.family, []).append(was_incomplete)
            except InTrash as error:  # as a person wants it
                trash.setdefault(error.kind, []).append(f"{stage} ({error.id})")
            except Exception as error:  # for example a file that git or DVC's cache has lost
                os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"  # it was patient once
                store.ping()  # if nothing works, this ends it
                failed.setdefault(reason(error), []).append(stage)
        with suppress(InTrash):  # it is reported already
            choose_best(store, results)
    finally:
        _report(store, changed, trash, failed)
    return not failed


def _report(
    store: Store, changed: dict[str, list[bool]], trash: dict[str, list[str]], failed: dict[str, list[str]]
) -> None:
    for kind, deleted in trash.items():
        say(
            f"MLflow: not tracked, since their {kind}s are in the trash: {', '.join(deleted)}; "
            f"`mlflow {kind}s restore --{kind}-id …` brings one back, and `make track` completes it"
        )
    for fault, stages in failed.items():
        warn(f"MLflow: not complete: {', '.join(stages)}: {fault}")
    if store.unsupported:
        missing = " and ".join(sorted(store.unsupported))
        say(f"MLflow: the server is too old for {missing}; runs are completed without them")
    if runs := [run for family in changed.values() for run in family]:
        what = f"{sum(runs)} of {len(runs)} runs completed" if any(runs) else f"{len(runs)} runs are complete"
        families = ", ".join(f"{family} {len(found)}" for family, found in sorted(changed.items()))
        say(f"MLflow: {what} ({families})")


def second_stores() -> list[str]:
    """Stores in subfolders: `mlflow ui` creates one where it is started (mlflow #24130)."""
    found = git_output("ls-files", "--others", "--exclude-standard", "--", ":(glob)*/**/mlflow.db")
    return found.splitlines()


def sync_run(store: Store, result: StageResult) -> bool:
    """Completes the run of a result from the files; returns whether anything was missing."""
    inputs = result.inputs
    run = store.run(inputs)
    tags = run.data.tags
    if run.info.status == "RUNNING" and "host" in tags:  # in training: the next time, then
        return False
    weights_md5 = result.files.get(result.weights, "")
    if store.shared and weights_md5 and tags.get("model_md5", weights_md5) != weights_md5:
        warn(f"MLflow: the run of {inputs.stage} has weights of another machine, and is left as it is")
        return False
    # where others share the store, a name that this clone does not know may be theirs
    store.set_experiments(run, result.experiments, keep=store.shared)
    if result.commits and (tags.get("git_commit") not in result.commits or tags.get("git_dirty") != "false"):
        store.set_tags(run, commit_tags(result.commits[0]))
    if tags.get("mirrored") == result.state and run.info.status == "FINISHED":
        return log_models(store, run, result)
    store.log_params(run, inputs)
    _log_reports(store, run, result)
    log_models(store, run, result)
    if run.info.status != "FINISHED":
        store.end(run, "FINISHED")
    store.set_tags(run, {"mirrored": result.state})
    return True


def _log_reports(store: Store, run: "Run", result: StageResult) -> None:
    """Logs the files in reports/ as artifacts, and what they hold as curves, metrics, tags and a dataset."""
    from mlflow.entities import Metric

    curves, untracked, is_metric = project().curves, project().untracked, project().is_metric
    metrics: dict[str, float] = {}
    tags = {
        "model_md5": result.files.get(result.weights, ""),
        "data_md5": result.inputs.files.get(result.data, ""),
    }
    now = int(time.time() * 1000)
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
                store.log_rows(run, [(now, row) for row in rows], step, whole=True)
                metrics |= best_values(rows, step)
            elif path.suffix == ".json":
                content = read_json(local)
                metrics |= {key: value for key, value in numbers(content, f"{path.stem}/") if is_metric(key)}
                tags |= {key: value for key, value in content.items() if isinstance(value, str)}
                if "dataset" in content:
                    _log_dataset(store, run, result, content["dataset"], content["dataset_digest"])
            store.client.log_artifact(
                run.info.run_id, str(local), "figures" if path.suffix == ".png" else None
            )
    logged = run.data.metrics
    new = [Metric(key, value, now, 0) for key, value in metrics.items() if logged.get(key) != value]
    store.client.log_batch(run.info.run_id, metrics=new)
    store.set_tags(run, tags)


def _log_dataset(store: Store, run: "Run", result: StageResult, name: str, digest: str) -> None:
    """Logs the dataset of a run, once."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    if not (run.inputs and run.inputs.dataset_inputs):
        source = json.dumps({"path": result.data, "md5": result.inputs.files.get(result.data, "")})
        used = DatasetInput(
            Dataset(name, digest, "dvc", source), [InputTag("mlflow.data.context", "training")]
        )
        with store.optional("datasets"):
            store.client.log_inputs(run.info.run_id, datasets=[used])


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


def numbers(value: Any, prefix: str) -> Iterator[tuple[str, float]]:
    """The numbers in nested objects and lists, with their keys joined by dots."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        for key, item in value.items():
            yield from numbers(item, f"{prefix}{key}.")
    elif isinstance(value, int | float):
        yield prefix.removesuffix("."), float(value)
