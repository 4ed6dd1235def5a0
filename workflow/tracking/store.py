"""The MLflow store: one run for each result, found by the digest of its inputs."""

import logging
import os
import platform
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

import psutil

from workflow.core.errors import UserError
from workflow.core.files import DECIMALS
from workflow.runs.identity import Inputs, main_repository
from workflow.runs.locks import training_lock
from workflow.tracking.live import commit_tags, tracking_uri

if TYPE_CHECKING:  # slow to import
    from mlflow.entities import Run

Rows = Iterable[tuple[int, Mapping[str, Any]]]  # time in milliseconds, and values by column
EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",  # its page opens on runs, not on traces
    "mlflow.note.content": "A run for each result of a stage `{family}`, found by the digest of its inputs. "
    "`by_…` are curves, `best_…` their best values; `best_test_…` must not be used for model selection: it "
    "looked at the test set. Other metrics are called by their files in `reports/`, which are its artifacts. "
    "`make track` completes all.",
}
# where MLflow's tables hold absolute paths of an experiment's folder or of what lies in it
PATH_COLUMNS = {
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}
TAG_LENGTH = 5000  # characters that every server accepts


class InTrash(UserError):
    """A person has deleted a run, or its experiment."""

    def __init__(self, kind: str, number: str) -> None:
        self.kind, self.id = kind, number
        command = f"mlflow {kind}s restore --{kind}-id {number}"
        super().__init__(f"its {kind} is in the trash; `{command}` brings it back")


class Store:
    """The MLflow store at `MLFLOW_TRACKING_URI`, by default SQLite in the main repository."""

    def __init__(self) -> None:
        # by default MLflow tries a dead server for minutes
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        os.environ.setdefault("MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER", "false")  # it may ask for an hour
        from filelock import FileLock
        from mlflow.tracking import MlflowClient
        from sqlalchemy.engine import make_url

        for name in ("mlflow", "mlflow.store.db.utils", "alembic"):  # they report each table that they create
            logging.getLogger(name).setLevel(logging.WARNING)
        self.root = main_repository()
        self.uri = tracking_uri(self.root)
        # the place of MLflow's own experiment goes into a line of SQL, which a path with quotes would end
        os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = (self.root / "mlruns").as_uri()
        self.owner = f"{platform.node()}:{self.root}"  # the tag `host` of runs that this clone trains
        self.database = Path(make_url(self.uri).database or "") if self.uri.startswith("sqlite") else None
        # other clones may use it, too
        self.shared = self.database is None or self.root not in self.database.parents
        # the locks lie beside a database, for all who share it
        place = self.database or self.root / ".dvc" / "tmp" / "mlflow"
        place.parent.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(f"{place}.lock")
        self.sync_lock = FileLock(f"{place}.sync.lock")  # of `make track`
        with self.lock:  # most of the processes that create one SQLite file at once fail (mlflow #4123)
            self.client = MlflowClient(self.uri)
            self.ping()
        self.experiments: dict[str, str] = {}  # ids by name
        self.unsupported: set[str] = set()  # what the server is too old for

    def ping(self) -> None:
        """Raises an error if the store does not work at all."""
        self.client.search_experiments(max_results=1)

    @contextmanager
    def optional(self, feature: str) -> Iterator[None]:
        """Inside, an endpoint that the server lacks adds the feature to `unsupported`, and is no error."""
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            if error.error_code != "ENDPOINT_NOT_FOUND":  # not that of a run or model that is not there
                raise
            self.ping()  # it has the others
            self.unsupported.add(feature)

    def experiment(self, family: str) -> str:
        """The id of the experiment of a family of stages; creates it if it is missing.

        Raises:
            InTrash: it is in the trash.
        """
        from mlflow.exceptions import MlflowException

        if family in self.experiments:
            return self.experiments[family]
        with self.lock:
            found = self.client.get_experiment_by_name(family)
            if found is None:
                local = not self.uri.startswith(("http://", "https://", "databricks"))
                location = artifacts_uri(self.root, family) if local else None
                tags = {key: text.format(family=family) for key, text in EXPERIMENT_TAGS.items()}
                try:
                    created = self.client.create_experiment(family, location, tags)
                    return self.experiments.setdefault(family, str(created))
                except MlflowException:  # another machine may have created it in this moment
                    found = self.client.get_experiment_by_name(family)
                    if found is None:
                        raise
        if found.lifecycle_stage == "deleted":
            raise InTrash("experiment", str(found.experiment_id))
        return self.experiments.setdefault(family, str(found.experiment_id))

    def run(self, inputs: Inputs, started_at: int | None = None, **tags: str) -> "Run":
        """The one run of these inputs, found by their digest.

        A missing one is created with their params, `tags`, and its start (in milliseconds; by default now).

        Raises:
            InTrash: the run, or its experiment, is in the trash.
        """
        experiment = self.experiment(inputs.family)
        with self.lock:
            run = self.find_run(experiment, inputs)
            if run is None:
                own_tags = {
                    "stage": inputs.stage,
                    "variant": inputs.name,
                    "input_digest": inputs.digest,
                    "mlflow.note.content": f"`{inputs.stage}`: {inputs.text}",
                    "mlflow.source.name": inputs.command,
                    "mlflow.source.type": "LOCAL",
                    "mlflow.user": psutil.Process().username(),
                    **commit_tags(),
                }
                created = self.client.create_run(experiment, started_at, own_tags | tags, inputs.name)
                self.log_params(created, inputs)
                run = self.find_run(experiment, inputs) or created
                if run.info.run_id != created.info.run_id:  # another machine, which has no lock, was faster
                    self.client.delete_run(created.info.run_id)
        if run.info.lifecycle_stage == "deleted":
            raise InTrash("run", run.info.run_id)
        return run

    def find_run(self, experiment: str, inputs: Inputs) -> "Run | None":
        """The run of these inputs; one in the trash only if there is no other."""
        from mlflow.entities import ViewType

        query, order = f"tags.input_digest = '{inputs.digest}'", ["attributes.start_time"]
        runs = self.client.search_runs([experiment], query, ViewType.ALL, order_by=order)
        return min(runs, key=lambda run: run.info.lifecycle_stage == "deleted", default=None)

    def log_params(self, run: "Run", inputs: Inputs) -> None:
        """Logs the params that the run lacks; the tag `evaluated_with` lists changed ones."""
        from mlflow.entities import Param

        logged = run.data.params
        params = {key: str(value) for key, value in sorted(inputs.short_params.items())}
        missing = [Param(key, value) for key, value in params.items() if key not in logged]
        self.client.log_batch(run.info.run_id, params=missing)
        changed = [f"{key}={value}" for key, value in params.items() if logged.get(key, value) != value]
        self.set_tags(run, {"evaluated_with": ", ".join(changed)})

    def set_tags(self, run: "Run", tags: Mapping[str, str]) -> None:
        """Sets the tags that the run lacks; removes those whose value is empty."""
        from mlflow.entities import RunTag

        present = run.data.tags
        new = {key: value[:TAG_LENGTH] for key, value in tags.items() if value}
        changed = {key: value for key, value in new.items() if present.get(key) != value}
        self.client.log_batch(run.info.run_id, tags=[RunTag(*item) for item in changed.items()])
        present.update(changed)
        for key in tags.keys() & present.keys() - new.keys():
            self.client.delete_tag(run.info.run_id, key)
            del present[key]

    def set_experiments(self, run: "Run", names: Iterable[str], *, keep: bool) -> None:
        """Sets the tag of the experiments that share a run; with `keep`, adds them to those that it lists."""

        def listed(tags: Mapping[str, str]) -> str:
            kept = tags.get("experiments", "").split(", ") if keep else ()
            return ", ".join(sorted({*names, *kept} - {""}))

        if listed(run.data.tags) != run.data.tags.get("experiments", ""):
            with self.lock:  # another clone may add its own in this moment
                self.set_tags(run, {"experiments": listed(self.client.get_run(run.info.run_id).data.tags)})

    def close_killed(self) -> list[str]:
        """Ends as KILLED the runs of this clone that are RUNNING without a process; returns their stages."""
        from filelock import Timeout

        closed = []
        experiments = [experiment.experiment_id for experiment in self.client.search_experiments()]
        for run in self.client.search_runs(experiments, "attributes.status = 'RUNNING'"):
            tags = run.data.tags
            owner = tags.get("host", "")
            folder = owner.partition(":")[2]
            # without other clones, a folder that is gone is where this clone was before it moved
            moved = not self.shared and folder and not Path(folder, ".dvc").is_dir()
            if "input_digest" in tags and (owner == self.owner or moved):
                with suppress(Timeout), training_lock(self.root, tags["input_digest"]).acquire(timeout=0):
                    self.end(run, "KILLED")
                    closed.append(tags["stage"])
        return closed

    def end(self, run: "Run", status: str, ended_at: int | None = None) -> None:
        """Ends a run, and removes the tag `host`, since no process trains any more.

        Without `ended_at` (in milliseconds) a run keeps the end that it has, or gets a duration of 0.
        """
        info = run.info
        self.client.set_terminated(info.run_id, status, ended_at or info.end_time or info.start_time)
        self.set_tags(run, {"host": ""})

    def log_rows(self, run: "Run", rows: Rows, step: str = "epoch", *, whole: bool = False) -> None:
        """Logs rows of curves, rounded as in reports/, from where the run's curves ended when it was read.

        Args:
            step: the column that counts the steps. MLflow's pages sort by prefix: `by_…` comes first. A `/`
                in a column's name would open another section.
            whole: the rows are a whole curve. It is logged from its start if the run's has another end.
        """
        from mlflow.entities import Metric

        metrics = [
            Metric(f"by_{step}/{key.replace('/', ':')}", round(float(value), DECIMALS), when, int(row[step]))
            for when, row in rows
            for key, value in row.items()
            if key != step
        ]
        ends = {metric.key: metric for metric in run.data.to_proto().metrics}  # a run holds the last of each
        if whole:
            values = {(metric.key, metric.step): str(metric.value) for metric in metrics}
            ends = {key: end for key, end in ends.items() if values.get((key, end.step)) == str(end.value)}
        new = [metric for metric in metrics if metric.key not in ends or metric.step > ends[metric.key].step]
        self.client.log_batch(run.info.run_id, metrics=new)


def artifacts_uri(root: Path, family: str) -> str:
    """Where the artifacts of an experiment lie, if its store is on this machine. MLflow needs it absolute."""
    return (root / "mlartifacts" / family).as_uri()


def relocate_artifacts(store: Store) -> list[str]:
    """Corrects the paths of artifacts after the folder was moved or copied; returns the experiments.

    MLflow stores absolute paths, and cannot change them.
    """
    if store.database is None or store.shared:
        return []
    relocated = []
    with store.lock, closing(sqlite3.connect(store.database)) as connection, connection:
        for name, old in connection.execute("SELECT name, artifact_location FROM experiments").fetchall():
            new = artifacts_uri(store.root, name)
            old_exists, new_exists = (Path(unquote(urlparse(uri).path)).is_dir() for uri in (old, new))
            # another clone that uses this store keeps artifacts in its own folder
            if old == new or not old.endswith(f"/mlartifacts/{name}") or (old_exists and not new_exists):
                continue
            length = len(old) + 1
            for table, column in PATH_COLUMNS.items():
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE substr({column} || '/', 1, ?) = ?",
                    (new, length, length, f"{old}/"),
                )
            relocated.append(name)
    return relocated
