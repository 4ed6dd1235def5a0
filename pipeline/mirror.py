"""Completes MLflow from the files: `python -m pipeline.mirror`. Run twice, it adds nothing."""

from __future__ import annotations

import contextlib
import csv
import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.console import say, warn
from pipeline.files import digest, md5, read_json
from pipeline.identity import Inputs, inputs
from pipeline.tracking import Store, artifacts, tracking_uri

REPORTS = Path("reports")
PATHS = (("runs", "artifact_uri"), ("logged_models", "artifact_location"))  # MLflow's tables with paths


def main() -> None:
    """Mirrors every trained model of this folder; MLflow's faults are said, and are no failure."""
    stages = trained_stages()
    if not stages:
        say("MLflow: nothing is trained yet; `dvc repro` trains")
        return
    try:
        store = Store()
        for family in moved_here(store):
            say(f"MLflow: the artifacts of experiment {family} lie in this folder now")
        for stage in store.close_killed():
            say(f"MLflow: a killed run of {stage} is closed")
        for stage in stages:
            of = inputs(stage)
            changed = mirror(store, of)
            say(f"MLflow: {stage} {'completed' if changed else 'is complete'} (experiment {of.family})")
    except Exception as error:  # whatever MLflow, its database or its server comes up with
        warn(
            f"MLflow cannot be completed: {type(error).__name__}: {str(error)[:300]}\n"
            "  Results are not affected; `make track` tries again."
        )
        sys.exit(1)


def trained_stages() -> list[str]:
    """Stages that make a model and whose files are those that dvc.lock names; says which are not."""
    from dvc.repo import Repo

    names = []
    with Repo(".") as repo:
        for stage in repo.index.stages:
            if not stage.addressing.startswith("train_"):
                continue
            files = [item for item in [*stage.deps, *stage.outs] if not hasattr(item, "params")]
            if all(_as_locked(item) for item in files):
                names.append(str(stage.addressing))
            elif any(item.exists for item in stage.outs):
                warn(f"{stage.addressing} is not up to date and is left out; run `dvc repro`")
    return sorted(names)


def _as_locked(item: Any) -> bool:
    path = Path(item.def_path)
    return path.is_file() and item.hash_info is not None and md5(path) == item.hash_info.value


def moved_here(store: Store) -> list[str]:
    """Mends the artifact paths of a store that was moved or copied with its folder; returns the experiments.

    MLflow writes them absolute, and has no call that changes them.
    """
    uri = tracking_uri(store.root)
    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or store.root not in path.parents:
        return []
    mended = []
    with store.lock, contextlib.closing(sqlite3.connect(path)) as base, base:
        known = base.execute("SELECT experiment_id, name, artifact_location FROM experiments").fetchall()
        for number, name, old in known:
            new = artifacts(store.root, name)
            if old == new or not old.endswith(f"/mlartifacts/{name}"):
                continue
            base.execute(
                "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (new, number)
            )
            for table, column in PATHS:
                base.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE experiment_id = ? AND {column} LIKE ?",
                    (new, len(old) + 1, number, f"{old}/%"),
                )
            mended.append(name)
    return mended


def mirror(store: Store, of: Inputs) -> bool:
    """Brings the run of `of` to what the files say; returns whether anything was to do."""
    reports = list(belongings(of))
    state = digest(*(f"{path}:{md5(path)}".encode() for path in [*map(Path, of.outputs), *reports]))
    run_id = store.run_id(of)
    run = store.client.get_run(run_id)
    if run.data.tags.get("mirrored") == state and run.info.status == "FINISHED":
        return False
    for path in reports:
        if path.name == "training.csv":
            with path.open(newline="") as file:
                rows = [_numbers(row) for row in csv.DictReader(file)]
            store.log_rows(run_id, rows, store.steps(run_id))
        elif path.suffix == ".json":
            _log_final(store, run_id, path)
        store.client.log_artifact(run_id, str(path), path.parent.name if path.suffix == ".png" else None)
    for output in of.outputs:
        if output.startswith("models/"):
            store.client.set_tag(run_id, "model_md5", md5(output))
    for dep, sum_ in of.files.items():
        if dep.startswith("data/"):
            store.client.set_tag(run_id, "data_md5", sum_)
    store.client.set_terminated(run_id, "FINISHED")
    store.client.set_tag(run_id, "mirrored", state)
    return True


def belongings(of: Inputs) -> Iterator[Path]:
    """The reports and figures of a model, by their paths."""
    yield from sorted((REPORTS / of.family / of.name).glob("*.*"))
    yield from sorted((REPORTS / "figures").glob(f"{of.family}_{of.name}_*.png"))


def _log_final(store: Store, run_id: str, path: Path) -> None:
    """A metrics file: numbers become metrics `<file>.<path>`; what it says of its data, the dataset."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric

    content = read_json(path)
    known = store.client.get_run(run_id)
    numbers = {f"{path.stem}.{key}": value for key, value in _leaves(content)}
    metrics = [
        Metric(key, float(value), 0, 0)
        for key, value in numbers.items()
        if known.data.metrics.get(key) != float(value)
    ]
    if metrics:
        store.client.log_batch(run_id, metrics=metrics)
    for key in ("dataset", "dataset_digest", "fallback_for"):
        if key in content:
            store.client.set_tag(run_id, key, content[key])
    if known.inputs is None or not known.inputs.dataset_inputs:
        source = json.dumps({"stage": "binarize" if content["dataset"] != "annuli" else "sample_annuli"})
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
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield prefix, value


def _numbers(row: dict[str, str]) -> dict[str, float]:
    return {key: float(value) for key, value in row.items() if value != ""}


if __name__ == "__main__":
    main()
