"""The MLflow store: runs by the digest of what their stage read. The tracker and `make track` open it."""

from __future__ import annotations

import getpass
import logging
import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.files import DECIMALS
from pipeline.identity import Inputs, main_repository
from pipeline.tags import at_head
from pipeline.tracking import tracking_uri
from pipeline.turns import turn_lock

if TYPE_CHECKING:
    from filelock import FileLock
    from mlflow.tracking import MlflowClient

METRICS_PER_BATCH = 1000  # the most that MLflow takes at once
PARAMS_PER_BATCH = 100
ABOUT_EXPERIMENT = {
    "mlflow.experimentKind": "custom_model_development",  # opens on runs, and not on traces of chats
    "mlflow.note.content": "A run for each result of a stage `{family}`, found by the digest of its inputs. "
    "`by_…` are curves; other metrics are called by their files in `reports/`. `make track` completes all.",
}
TAG = 5000  # characters that a tag may have on any server


class Store:
    """The MLflow store: `MLFLOW_TRACKING_URI`, or SQLite in the main repository."""

    def __init__(self) -> None:
        # by default MLflow tries a dead server for minutes
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from filelock import FileLock
        from mlflow.tracking import MlflowClient

        for name in ("mlflow", "mlflow.store.db.utils", "alembic"):  # they tell of each table that they make
            logging.getLogger(name).setLevel(logging.WARNING)
        self.root = main_repository()
        self.uri = tracking_uri(self.root)
        self.database = (
            Path(self.uri.removeprefix("sqlite:///")) if self.uri.startswith("sqlite:///") else None
        )
        # this clone's alone; another database or a server may be shared
        self.own = self.database is not None and self.root in self.database.parents
        self.owner = f"{platform.node()}:{self.root}"
        # beside a database, for all who share it
        place = self.database or self.root / ".dvc" / "tmp" / "mlflow"
        place.parent.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(f"{place}.lock")
        self.mirroring = FileLock(f"{place}.mirror.lock")
        with self.lock:  # of processes that start on a new SQLite file together, most die (mlflow #4123)
            self.client: MlflowClient = MlflowClient(self.uri)
            self.client.search_experiments(max_results=1)

    def experiment(self, family: str) -> str:
        """The id of the experiment of a family of models, which is made if need be."""
        from mlflow.exceptions import MlflowException

        local = not self.uri.startswith(("http://", "https://", "databricks"))
        with self.lock:
            found = self.client.get_experiment_by_name(family)
            if found is not None:
                if found.lifecycle_stage == "deleted":
                    raise RuntimeError(f"experiment {family} is in the trash; restore it, or run `mlflow gc`")
                return str(found.experiment_id)
            # absolute: whoever creates an experiment fixes where its artifacts lie
            place = artifacts(self.root, family) if local else None
            try:
                tags = {key: text.format(family=family) for key, text in ABOUT_EXPERIMENT.items()}
                return str(self.client.create_experiment(family, place, tags))
            except MlflowException:  # another machine was faster, if it is there now
                found = self.client.get_experiment_by_name(family)
                if found is None:
                    raise
                return str(found.experiment_id)

    def run_id(self, of: Inputs, more: Mapping[str, str] | None = None, began: int | None = None) -> str:
        """The one run of these inputs: found by their digest, or made with params, tags, and `more` tags.

        Args:
            began: when, in milliseconds, if it has to be made; else now.
        """
        experiment = self.experiment(of.family)
        with self.lock:
            if found := self._runs(experiment, of):
                return found[0]
            tags = {
                "stage": of.stage,
                "variant": of.name,
                "input_digest": of.digest,
                "mlflow.note.content": f"`{of.stage}`: {of.text}",
                "mlflow.source.name": of.command,
                "mlflow.source.type": "LOCAL",
                "mlflow.user": user(),
                **at_head(),
                **(more or {}),
            }
            run = self.client.create_run(experiment, began, tags, run_name=of.name)
            made = str(run.info.run_id)
            first = self._runs(experiment, of)[0]
            if first != made:  # another machine, which knows nothing of this lock, was faster
                self.client.delete_run(made)
                return first
        self.log_params(made, of)
        return made

    def _runs(self, experiment: str, of: Inputs) -> list[str]:
        query = f"tags.input_digest = '{of.digest}'"
        found = self.client.search_runs([experiment], query)
        return [
            run.info.run_id for run in sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))
        ]

    def log_params(self, run_id: str, of: Inputs) -> None:
        """Logs the params that the run lacks; those of a later evaluation as a tag: params stay."""
        from mlflow.entities import Param

        known = self.client.get_run(run_id).data.params
        params = {key: str(value) for key, value in sorted(of.short_params.items())}
        missing = [Param(key, value) for key, value in params.items() if key not in known]
        for start in range(0, len(missing), PARAMS_PER_BATCH):
            self.client.log_batch(run_id, params=missing[start : start + PARAMS_PER_BATCH])
        later = [f"{key}={value}" for key, value in params.items() if known.get(key, value) != value]
        self.tag(run_id, "evaluated_with", ", ".join(later))

    def tag(self, run_id: str, key: str, value: str) -> None:
        """Sets a tag to a value, or takes it away for an empty one; nothing where it is so."""
        known = self.client.get_run(run_id).data.tags.get(key, "")
        if value and value[:TAG] != known:
            self.client.set_tag(run_id, key, value[:TAG])
        elif known and not value:
            self.client.delete_tag(run_id, key)

    def training(self, digest: str) -> FileLock:
        """The lock of whoever trains on inputs of this digest; a killed process loses it."""
        return turn_lock(self.root, digest)

    def close_killed(self) -> list[str]:
        """Marks as KILLED the runs that this clone left RUNNING and that no process trains any more."""
        from filelock import Timeout

        closed = []
        experiments = [item.experiment_id for item in self.client.search_experiments()]
        for run in self.client.search_runs(experiments, "attributes.status = 'RUNNING'"):
            digest = run.data.tags.get("input_digest")
            if not digest or not self._left(run.data.tags.get("host", "")):
                continue
            try:
                with self.training(digest).acquire(timeout=0):
                    self.end(run.info.run_id, "KILLED")
            except Timeout:
                continue
            closed.append(run.data.tags["stage"])
        return closed

    def _left(self, owner: str) -> bool:
        """Whether an owner's runs are this clone's: of this folder, or of one that has moved here."""
        folder = owner.partition(":")[2]
        return owner == self.owner or bool(folder and self.own and not Path(folder, ".dvc").is_dir())

    def end(self, run_id: str, status: str, when: int | None = None) -> None:
        """Ends a run; the tag of the machine that works on it goes, since none does.

        Args:
            when: in milliseconds. By default a run that has ended keeps its end, and another has taken no
                time, since nobody knows how long.
        """
        info = self.client.get_run(run_id).info
        self.client.set_terminated(run_id, status, when or info.end_time or info.start_time)
        self.tag(run_id, "host", "")

    def log_rows(
        self,
        run_id: str,
        rows: Sequence[Mapping[str, Any]],
        known: Mapping[str, Mapping[int, float]],
        step: str = "epoch",
        times: Sequence[int] | None = None,
    ) -> None:
        """Logs rows of metrics, one column being their step, except those that are known with this value.

        What stands before a slash is a section of MLflow's pages, which sort them: curves come first.

        Args:
            times: when each row came to be, in milliseconds; by default now.
        """
        from mlflow.entities import Metric

        times = times or [int(time.time() * 1000)] * len(rows)
        metrics = [
            Metric(name, as_written(value), when, int(row[step]))
            for row, when in zip(rows, times, strict=True)
            for name, value in ((f"by_{step}/{key}", value) for key, value in row.items() if key != step)
            if known.get(name, {}).get(int(row[step])) != as_written(value)
        ]
        for start in range(0, len(metrics), METRICS_PER_BATCH):
            self.client.log_batch(run_id, metrics=metrics[start : start + METRICS_PER_BATCH])

    def steps(self, run_id: str) -> dict[str, dict[int, float]]:
        """The values that a run has of each curve, by step."""
        return {
            name: {metric.step: metric.value for metric in self.client.get_metric_history(run_id, name)}
            for name in self.client.get_run(run_id).data.metrics
            if name.partition("_")[0] == "by"  # of a hundred final metrics each would cost a request
        }


def import_mlflow() -> None:
    """Imports what a store will need, which takes seconds."""
    import mlflow.tracking

    if not tracking_uri(main_repository()).startswith(("http://", "https://")):
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


def artifacts(root: Path, family: str) -> str:
    """Where the artifacts of an experiment of a store on this machine lie."""
    return (root / "mlartifacts" / family).as_uri()


def user() -> str:
    """Who is at work; empty where the system has no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def as_written(value: float) -> float:
    """The value as a file in reports/ has it."""
    return round(float(value), DECIMALS)
