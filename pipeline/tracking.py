"""MLflow while a model trains. It only adds to what the files say: results never wait for it or need it."""

from __future__ import annotations

import logging
import os
import platform
import queue
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.console import Terminated, warn
from pipeline.files import DECIMALS
from pipeline.identity import Inputs, main_repository
from pipeline.tags import at_head, named, names
from pipeline.turns import turn_lock

if TYPE_CHECKING:
    from filelock import FileLock
    from mlflow.tracking import MlflowClient

LAST_WORDS = 20.0  # seconds that a finished stage waits for a slow server
IMPORTING = 60.0  # seconds that it waits besides for MLflow's import, on a machine that is busy
# seconds that training waits for Python's lock at an operation of torch, while MLflow is imported beside it;
# by default 5 ms, which would stop training for as long as the import takes
PATIENCE = 0.0001
METRICS_PER_BATCH = 1000  # the most that MLflow takes at once
PARAMS_PER_BATCH = 100
KIND = {"mlflow.experimentKind": "custom_model_development"}  # opens on runs, and not on traces of chats
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
                return str(self.client.create_experiment(family, place, KIND))
            except MlflowException:  # another machine was faster, if it is there now
                found = self.client.get_experiment_by_name(family)
                if found is None:
                    raise
                return str(found.experiment_id)

    def run_id(self, of: Inputs, more: Mapping[str, str] | None = None) -> str:
        """The one run of these inputs: found by their digest, or made with params, tags, and `more` tags."""
        experiment = self.experiment(of.family)
        with self.lock:
            if found := self._runs(experiment, of):
                return found[0]
            tags = {
                "stage": of.stage,
                "variant": of.name,
                "input_digest": of.digest,
                **at_head(),
                **(more or {}),
            }
            made = str(self.client.create_run(experiment, run_name=of.name, tags=tags).info.run_id)
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

    def end(self, run_id: str, status: str) -> None:
        """Ends a run; the tag of the machine that works on it goes, since none does."""
        self.client.set_terminated(run_id, status)
        self.tag(run_id, "host", "")

    def log_rows(
        self,
        run_id: str,
        rows: Sequence[Mapping[str, Any]],
        known: Mapping[str, Mapping[int, float]],
        step: str = "epoch",
    ) -> None:
        """Logs rows of metrics, one column being their step, except those that are known with this value."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [
            Metric(key, as_written(value), now, int(row[step]))
            for row in rows
            for key, value in row.items()
            if key != step and known.get(key, {}).get(int(row[step])) != as_written(value)
        ]
        for start in range(0, len(metrics), METRICS_PER_BATCH):
            self.client.log_batch(run_id, metrics=metrics[start : start + METRICS_PER_BATCH])

    def steps(self, run_id: str) -> dict[str, dict[int, float]]:
        """The values that a run has of each curve, by step; a final metric has its file's name and a dot."""
        return {
            name: {metric.step: metric.value for metric in self.client.get_metric_history(run_id, name)}
            for name in self.client.get_run(run_id).data.metrics
            if "." not in name  # of a hundred final metrics each would cost a request
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

    def __init__(self, of: Inputs, about: Mapping[str, str]) -> None:
        self.of = of
        self.about = about
        self.rows: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.status = "FINISHED"
        self.imported = threading.Event()
        self.thread = threading.Thread(target=self._work, daemon=True, name="tracking")

    def log(self, row: Mapping[str, Any]) -> None:
        """Takes one epoch's metrics; `epoch` is their step."""
        self.rows.put(dict(row))

    def finish(self) -> None:
        """Waits for the last words to the store, but not for long."""
        self.rows.put(None)
        self.imported.wait(IMPORTING)
        self.thread.join(LAST_WORDS)
        if self.thread.is_alive():
            self._warn("it is slow")

    def _work(self) -> None:
        try:
            self._import()
            store = Store()
            self._log(store, store.run_id(self.of, {**self.about, "host": store.owner}))
        except Exception as error:  # whatever MLflow, its database or its server comes up with
            self._warn(f"{type(error).__name__}: {str(error)[:200]}")

    def _import(self) -> None:
        try:
            import mlflow.tracking  # noqa: F401
        finally:
            self.imported.set()

    def _warn(self, fault: str) -> None:
        warn(
            f"MLflow is not tracking {self.of.stage}: {fault}\n"
            "  Results are not affected; `make track` completes the run later."
        )

    def _log(self, store: Store, run_id: str) -> None:
        for key, value in {**self.about, "host": store.owner}.items():
            store.tag(run_id, key, value)
        store.client.update_run(run_id, status="RUNNING")
        if experiment := os.environ.get("DVC_EXP_NAME"):
            with store.lock:
                known = store.client.get_run(run_id).data.tags.get("experiments", "")
                store.tag(run_id, "experiments", names({experiment, *named(known)}))
        steps = store.steps(run_id)
        finished = False
        while not finished:
            pending = self._pending()
            finished = pending[-1] is None
            rows = [row for row in pending if row is not None]
            if rows:
                store.log_rows(run_id, rows, steps)
        store.end(run_id, self.status)

    def _pending(self) -> list[dict[str, Any] | None]:
        pending = [self.rows.get()]
        while pending[-1] is not None:
            try:
                pending.append(self.rows.get_nowait())
            except queue.Empty:
                break
        return pending


@contextmanager
def live(of: Inputs, about: Mapping[str, str], rows: Iterable[Mapping[str, Any]] = ()) -> Iterator[Live]:
    """Tracks a training stage in its MLflow run; leaves it FINISHED, FAILED, or KILLED by Ctrl-C or SIGTERM.

    Args:
        about: tags, such as what the data are.
        rows: of the epochs before this process went on; the store may lack the last of them.
    """
    tracker = Live(of, about)
    for row in rows:
        tracker.log(row)
    patience = sys.getswitchinterval()
    sys.setswitchinterval(PATIENCE)
    tracker.thread.start()
    try:
        yield tracker
    except (KeyboardInterrupt, Terminated):
        tracker.status = "KILLED"
        raise
    except BaseException:
        tracker.status = "FAILED"
        raise
    finally:
        tracker.finish()
        sys.setswitchinterval(patience)
