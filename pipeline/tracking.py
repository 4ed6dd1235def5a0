"""MLflow while a model trains. It only adds to what the files say: results never wait for it or need it."""

from __future__ import annotations

import logging
import os
import platform
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.console import warn
from pipeline.files import DECIMALS
from pipeline.identity import Inputs, git_state, inputs, main_repository

if TYPE_CHECKING:
    from filelock import FileLock
    from mlflow.tracking import MlflowClient

LAST_WORDS = 20.0  # seconds that a finished stage waits for a slow server
METRICS_PER_BATCH = 1000  # the most that MLflow takes at once


class Store:
    """The MLflow store: `MLFLOW_TRACKING_URI`, or SQLite in the main repository."""

    def __init__(self) -> None:
        # by default MLflow tries a dead server for minutes
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of each table that it makes
        logging.getLogger("alembic").setLevel(logging.WARNING)
        from filelock import FileLock
        from mlflow.tracking import MlflowClient

        self.root = main_repository()
        lock = self.root / ".dvc" / "tmp" / "mlflow.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(lock)
        with self.lock:  # of processes that start on a new SQLite file together, most die (mlflow #4123)
            self.client: MlflowClient = MlflowClient(tracking_uri(self.root))
            self.client.search_experiments(max_results=1)

    def experiment(self, family: str) -> str:
        """The id of the experiment of a family of models, which is made if need be."""
        local = not tracking_uri(self.root).startswith(("http://", "https://", "databricks"))
        with self.lock:
            found = self.client.get_experiment_by_name(family)
            if found is not None:
                return str(found.experiment_id)
            # absolute: whoever creates an experiment fixes where its artifacts lie
            place = artifacts(self.root, family) if local else None
            return str(self.client.create_experiment(family, artifact_location=place))

    def run_id(self, of: Inputs) -> str:
        """The one run of these inputs: found by their digest, or made with params and tags."""
        experiment = self.experiment(of.family)
        with self.lock:
            query = f"tags.input_digest = '{of.digest}'"
            found = self.client.search_runs([experiment], query, max_results=1)
            if found:
                return str(found[0].info.run_id)
            tags = {"stage": of.stage, "variant": of.name, "input_digest": of.digest, **git_state()}
            if "git_commit" in tags:
                tags["mlflow.source.git.commit"] = tags["git_commit"]
            run = self.client.create_run(experiment, run_name=of.name, tags=tags)
        from mlflow.entities import Param

        params = [Param(key, str(value)) for key, value in sorted(of.short_params.items())]
        self.client.log_batch(run.info.run_id, params=params)
        return str(run.info.run_id)

    def training(self, digest: str) -> FileLock:
        """The lock of whoever trains on inputs of this digest; a killed process loses it."""
        from filelock import FileLock

        path = self.root / ".dvc" / "tmp" / "training" / f"{digest}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path)

    def close_killed(self) -> list[str]:
        """Marks as KILLED the runs that this machine left RUNNING and that no process trains any more."""
        from filelock import Timeout

        closed = []
        experiments = [item.experiment_id for item in self.client.search_experiments()]
        query = f"attributes.status = 'RUNNING' and tags.host = '{platform.node()}'"
        for run in self.client.search_runs(experiments, query):
            try:
                with self.training(run.data.tags["input_digest"]).acquire(timeout=0):
                    self.client.set_terminated(run.info.run_id, "KILLED")
            except Timeout:
                continue
            closed.append(run.data.tags["stage"])
        return closed

    def log_rows(self, run_id: str, rows: Sequence[Mapping[str, Any]], known: Mapping[str, set[int]]) -> None:
        """Logs rows of metrics, `epoch` being their step, except those (name, step) that are known."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [
            Metric(key, as_written(value), now, int(row["epoch"]))
            for row in rows
            for key, value in row.items()
            if key != "epoch" and int(row["epoch"]) not in known.get(key, ())
        ]
        for start in range(0, len(metrics), METRICS_PER_BATCH):
            self.client.log_batch(run_id, metrics=metrics[start : start + METRICS_PER_BATCH])

    def steps(self, run_id: str) -> dict[str, set[int]]:
        """The steps that a run has of each metric."""
        return {
            name: {metric.step for metric in self.client.get_metric_history(run_id, name)}
            for name in self.client.get_run(run_id).data.metrics
        }


def tracking_uri(root: Path) -> str:
    """`MLFLOW_TRACKING_URI` with a relative SQLite path below `root`, or `mlflow.db` there."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip() or "sqlite:///mlflow.db"
    relative = uri.removeprefix("sqlite:///")
    if uri != relative and not relative.startswith("/"):
        return f"sqlite:///{root / relative}"
    return uri


def artifacts(root: Path, family: str) -> str:
    """Where the artifacts of an experiment of a store on this machine lie."""
    return (root / "mlartifacts" / family).as_uri()


def as_written(value: float) -> float:
    """The value as a file in reports/ has it."""
    return round(float(value), DECIMALS)


class Live:
    """Rows on their way to the store, by a thread of their own: training never waits."""

    def __init__(self, stage: str, about: Mapping[str, str]) -> None:
        self.stage = stage
        self.about = about
        self.rows: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.status = "FINISHED"
        self.thread = threading.Thread(target=self._work, daemon=True, name="tracking")

    def log(self, row: Mapping[str, Any]) -> None:
        """Takes one epoch's metrics; `epoch` is their step."""
        self.rows.put(dict(row))

    def _work(self) -> None:
        try:
            store = Store()
            of = inputs(self.stage)
            with store.training(of.digest):  # another process on the same inputs logs first, and all
                self._log(store, store.run_id(of))
        except Exception as error:  # whatever MLflow, its database or its server comes up with
            warn(
                f"MLflow is not tracking {self.stage}: {type(error).__name__}: {str(error)[:200]}\n"
                "  Results are not affected; `make track` completes the run later."
            )

    def _log(self, store: Store, run_id: str) -> None:
        store.client.update_run(run_id, status="RUNNING")
        for key, value in {**self.about, "host": platform.node()}.items():
            store.client.set_tag(run_id, key, value)
        known = store.steps(run_id)
        finished = False
        while not finished:
            pending = self._pending()
            finished = pending[-1] is None
            rows = [row for row in pending if row is not None]
            if rows:
                store.log_rows(run_id, rows, known)
        store.client.set_terminated(run_id, self.status)

    def _pending(self) -> list[dict[str, Any] | None]:
        pending = [self.rows.get()]
        while pending[-1] is not None:
            try:
                pending.append(self.rows.get_nowait())
            except queue.Empty:
                break
        return pending


@contextmanager
def live(stage: str, about: Mapping[str, str]) -> Iterator[Live]:
    """Tracks a training stage in its MLflow run; leaves it FINISHED, FAILED, or KILLED by Ctrl-C.

    Args:
        about: tags, such as what the data are.
    """
    tracker = Live(stage, about)
    tracker.thread.start()
    try:
        yield tracker
    except KeyboardInterrupt:
        tracker.status = "KILLED"
        raise
    except BaseException:
        tracker.status = "FAILED"
        raise
    finally:
        tracker.rows.put(None)
        tracker.thread.join(LAST_WORDS)
