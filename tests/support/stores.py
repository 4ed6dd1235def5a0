"""Reads MLflow stores, and starts servers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from mlflow.entities import Run, ViewType
from mlflow.tracking import MlflowClient

from tests.conftest import Project, clean_environment

T = TypeVar("T")
RUN_NAMES = {
    "vae/notebook", "vae/tuned", "classifier/annuli", "classifier/images",
    "quadratic/well_conditioned", "quadratic/ill_conditioned", "quadratic/high_dimensional",
}  # fmt: skip
MOST_METRICS = 40  # of a run, those of curves included
WAIT_TIMEOUT = 180.0  # seconds; the machine may be busy
MACHINE_TAGS = ("mlflow.source.", "mlflow.user")  # tags that name a machine


def all_runs(uri: str) -> list[tuple[str, Run]]:
    """All runs, each with its name `family/name`."""
    client = MlflowClient(uri)
    return [
        (f"{experiment.name}/{run.info.run_name}", run)
        for experiment in client.search_experiments()
        for run in client.search_runs([experiment.experiment_id])
    ]


def runs_by_name(uri: str) -> dict[str, Run]:
    """All runs by `family/name`; fails if a name occurs twice."""
    found: dict[str, Run] = {}
    for name, run in all_runs(uri):
        assert name not in found, f"{name} occurs twice"
        found[name] = run
    return found


def runs_by_stage(uri: str, view: int = ViewType.ACTIVE_ONLY) -> dict[str, Run]:
    """Runs by stage; fails if a stage has several."""
    client = MlflowClient(uri)
    ids = [item.experiment_id for item in client.search_experiments()]
    found = client.search_runs(ids, run_view_type=view)
    assert len({run.data.tags["stage"] for run in found}) == len(found)
    return {run.data.tags["stage"]: run for run in found}


def store_uri(project: Project) -> str:
    return f"sqlite:///{project.path}/mlflow.db"


def store_content(uri: str) -> dict[str, Any]:
    """The runs and models of a store, without ids, times and paths."""
    client = MlflowClient(uri)
    found = {}
    for name, run in all_runs(uri):
        history = {
            key: [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, key)]
            for key in run.data.metrics
        }
        models = client.search_logged_models([run.info.experiment_id])
        found[f"{name} {run.data.tags['input_digest']}"] = {
            "status": run.info.status,
            "params": run.data.params,
            "metrics": history,
            "tags": {key: value for key, value in run.data.tags.items() if not key.startswith(MACHINE_TAGS)},
            "data": [(item.dataset.name, item.dataset.digest, item.dataset.source)
                     for item in run.inputs.dataset_inputs] if run.inputs else [],
            "files": sorted(artifact_paths(client, run.info.run_id)),
            "models": sorted(model.name for model in models if model.source_run_id == run.info.run_id),
        }  # fmt: skip
    for model in client.search_registered_models():
        versions = {
            version.version: version for version in client.search_model_versions(f"name='{model.name}'")
        }
        found[model.name] = {
            "variants": sorted(version.tags["variant"] for version in versions.values()),
            "aliases": {alias: versions[number].tags for alias, number in model.aliases.items()},
        }
    return found


def artifact_paths(client: MlflowClient, run_id: str, folder: str | None = None) -> Iterator[str]:
    """Paths of a run's artifacts."""
    for item in client.list_artifacts(run_id, folder):
        if item.is_dir:
            yield from artifact_paths(client, run_id, item.path)
        else:
            yield item.path


def wait_for(condition: Callable[[], T]) -> T:
    """Calls `condition` until its value is true; returns the value."""
    deadline = time.monotonic() + WAIT_TIMEOUT
    while not (found := condition()):
        assert time.monotonic() < deadline, f"condition still false after {WAIT_TIMEOUT:.0f} s"
        time.sleep(0.3)
    return found


def journals_uploaded(project: Project) -> bool:
    """Whether the journals of all trainings have been uploaded."""
    return not list((project.path / ".dvc/tmp/tracking").glob("*/*.jsonl"))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def run_server(
    command: Sequence[str], port: int, folder: Path, path: str = "/health", **variables: str
) -> Iterator[str]:
    """Runs a server process; yields its address once it answers, and stops it with its children."""
    log = tempfile.TemporaryFile("w+")  # noqa: SIM115
    # as `make ui`: otherwise MLflow starts eight more processes
    environment: Mapping[str, str] = (
        clean_environment() | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | variables
    )
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            time.sleep(0.5)
            try:
                urllib.request.urlopen(f"{address}{path}", timeout=2).read()
                break
            except OSError:
                if process.poll() is not None:
                    log.seek(0)
                    raise AssertionError(log.read()) from None
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:  # the machine may be busy
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()


def mlflow_server_command(folder: Path, backend: str = "") -> tuple[list[str], int]:
    """The command of an `mlflow server` with its store in `folder`, or in a database, and its port."""
    port = free_port()
    command = [
        "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", backend or f"sqlite:///{folder}/server.db",
        "--artifacts-destination", f"{folder}/artifacts",
    ]  # fmt: skip
    return command, port


def delete_store(project: Project) -> Project:
    """Deletes the store of a project. This process must not have opened it: SQLAlchemy keeps it open."""
    for name in ("mlflow.db", "mlflow.db.lock"):
        (project.path / name).unlink(missing_ok=True)
    return project
