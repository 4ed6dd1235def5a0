"""Completes MLflow from the files, whoever made them and wherever. Run twice, it adds nothing."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.console import say, warn
from pipeline.identity import Inputs, main_repository
from pipeline.relocate import moved_here
from pipeline.results import Found, Result, all_results
from pipeline.store import Store
from pipeline.tags import commit_tags, named, names
from pipeline.tracker import drain
from pipeline.tracking import OFF, cause, journals, say_faults, tracking_uri
from pipeline.turns import clear

REPEATED = Path("reports/metrics")  # a few of the numbers of other files, for DVC's own tables
CURVES = {"training.csv": "epoch", "losses.csv": "iteration"}  # tables by step, and the column that counts

# Logs what a result is as a model, given its run and its files; returns whether there was anything to do.
LogModels = Callable[[Store, str, Result], bool]
Finish = Callable[[Store, Mapping[str, Found]], None]


def complete(log_models: LogModels, finish: Finish, *, committed: bool = False) -> bool:
    """Mirrors every result of this repository, experiments included; returns whether MLflow took it all.

    MLflow's faults are said, and change no result.

    Args:
        finish: what comes after all runs, such as a choice among their models.
        committed: results that were neither computed nor pulled here, too.
    """
    if tracking_uri(main_repository()) == OFF:
        say("MLflow: it is switched off (MLFLOW_TRACKING_URI=none)")
        return True
    found = all_results(committed=committed)
    if not found:
        say("MLflow: nothing is trained yet; `dvc repro` trains")
    for path in strays():
        warn(f"{path} is a second store, without these runs: `mlflow ui` ran in that folder; delete it")
    say_faults(journals(main_repository()))
    try:
        store = Store()
        drain(store.root, store)
        say_faults(journals(store.root))
        with store.mirroring:  # of two at once, the second finds what the first has done
            return _complete(store, found, log_models, finish)
    except Exception as error:  # whatever MLflow, its database or its server comes up with
        say_faults(journals(main_repository()))
        warn(
            f"MLflow cannot be completed: {cause(error)}\n"
            "  Results are not affected; `make track` tries again."
        )
        return False


def _complete(store: Store, found: Mapping[str, Found], log_models: LogModels, finish: Finish) -> bool:
    for family in moved_here(store):
        say(f"MLflow: the artifacts of experiment {family} lie in this folder now")
    for stage in store.close_killed():
        say(f"MLflow: a killed run of {stage} is closed")
    clear(store.root)
    changed: dict[str, list[bool]] = {}
    whole = True
    for one in found.values():
        of = one.result.of
        try:
            changed.setdefault(of.family, []).append(mirror(store, one, log_models))
        except FileNotFoundError as error:  # lost from git or DVC's cache; the others are not
            warn(f"MLflow: the run of {of.stage} is not complete: {error}")
            whole = False
    finish(store, found)
    for family, runs in sorted(changed.items()):
        what = f"{sum(runs)} of {len(runs)} runs completed" if any(runs) else f"{len(runs)} runs are complete"
        say(f"MLflow: experiment {family}: {what}")
    return whole


def strays() -> list[str]:
    """Stores in folders below: `mlflow ui` makes one where it is started (mlflow #24130)."""
    command = ["git", "ls-files", "--others", "--exclude-standard", "--", ":(glob)**/mlflow.db"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):  # outside git
        return []
    return [path for path in listed if "/" in path]


def mirror(store: Store, found: Found, log_models: LogModels) -> bool:
    """Brings a result's run to what the files say; returns whether anything was to do."""
    result = found.result
    run_id = store.run_id(result.of)
    run = store.client.get_run(run_id)
    if run.info.status == "RUNNING" and "host" in run.data.tags:  # it is being trained; the next time, then
        return False
    tags = run.data.tags
    sums = {path: sum_ for path, sum_ in result.sums.items() if path.startswith("models/")}
    theirs = tags.get("model_md5")
    if not store.own and theirs and sums and theirs not in sums.values():
        warn(f"MLflow: the run of {result.of.stage} has weights of another machine, and is left as it is")
        return False
    # names that this clone does not know may be another's, where others share the store
    others = () if store.own else named(tags.get("experiments", ""))
    store.tag(run_id, "experiments", names({*found.experiments, *others}))
    known = tags.get("git_commit") in found.holders and tags.get("git_dirty") == "false"
    if found.commit and not known:
        for key, value in commit_tags(found.commit, dirty=False).items():
            store.tag(run_id, key, value)
    if tags.get("mirrored") == result.state and run.info.status == "FINISHED":
        return log_models(store, run_id, result)
    store.log_params(run_id, result.of)
    with result.files() as files, tempfile.TemporaryDirectory() as folder:
        for path in sorted(map(Path, result.sums)):
            if path.parts[0] != "reports" or path.is_relative_to(REPEATED):
                continue
            local = Path(folder, path.name)
            files.get_file(str(path), str(local))
            if step := CURVES.get(path.name):
                rows = list(_rows(local.read_text(encoding="utf-8")))
                store.log_rows(run_id, rows, store.steps(run_id), step)
            elif path.suffix == ".json":
                _log_final(store, run_id, result.of, path.stem, json.loads(local.read_text("utf-8")))
            store.client.log_artifact(run_id, str(local), "figures" if path.suffix == ".png" else None)
    for sum_ in sums.values():
        store.tag(run_id, "model_md5", sum_)
    for dep, sum_ in result.of.files.items():
        if dep.startswith("data/") and dep.endswith(".npz"):
            store.tag(run_id, "data_md5", sum_)
    log_models(store, run_id, result)
    if run.info.status != "FINISHED":
        store.end(run_id, "FINISHED")
    store.tag(run_id, "mirrored", result.state)
    return True


def _log_final(store: Store, run_id: str, of: Inputs, name: str, content: dict[str, Any]) -> None:
    """A metrics file: numbers become metrics `<file>/<path>`; what it says of its data, the dataset."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric

    known = store.client.get_run(run_id)
    numbers = {f"{name}/{key}": value for key, value in _leaves(content)}
    now = int(time.time() * 1000)
    metrics = [
        Metric(key, float(value), now, 0)
        for key, value in numbers.items()
        if known.data.metrics.get(key) != float(value)
    ]
    if metrics:
        store.client.log_batch(run_id, metrics=metrics)
    for key, value in content.items():
        if isinstance(value, str):
            store.tag(run_id, key, value)
    if "dataset" in content and not (known.inputs and known.inputs.dataset_inputs):
        path = next(dep for dep in of.files if dep.startswith("data/") and dep.endswith(".npz"))
        source = json.dumps({"path": path, "md5": of.files[path]})
        dataset = Dataset(content["dataset"], content["dataset_digest"], "dvc", source)
        context = InputTag("mlflow.data.context", "training")
        store.client.log_inputs(run_id, datasets=[DatasetInput(dataset, [context])])


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{prefix}.{index}")
    elif isinstance(value, int | float):
        yield prefix, value


def _rows(text: str) -> Iterator[dict[str, float]]:
    for row in csv.DictReader(io.StringIO(text)):
        yield {key: float(value) for key, value in row.items() if value != ""}
