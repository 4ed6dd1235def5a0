"""What tests read off MLflow stores, and the servers that they start."""

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

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from tests.conftest import Project, clean_environment

T = TypeVar("T")
EVERY = {
    "vae/notebook", "vae/tuned", "classifier/annuli", "classifier/images",
    "quadratic/well_conditioned", "quadratic/ill_conditioned", "quadratic/high_dimensional",
}  # fmt: skip
PATIENCE = 180.0  # seconds, on a machine that is busy
OURS = ("mlflow.source.", "mlflow.user")  # tags that name a machine


def every_run(uri: str) -> list[tuple[str, Run]]:
    """All runs, with `family/name`."""
    client = MlflowClient(uri)
    return [
        (f"{experiment.name}/{run.info.run_name}", run)
        for experiment in client.search_experiments()
        for run in client.search_runs([experiment.experiment_id])
    ]


def runs(uri: str) -> dict[str, Run]:
    """All runs by `family/name`; fails if one stands twice."""
    found: dict[str, Run] = {}
    for name, run in every_run(uri):
        assert name not in found, f"{name} stands twice"
        found[name] = run
    return found


def store(project: Project) -> str:
    return f"sqlite:///{project.path}/mlflow.db"


def content(uri: str) -> dict[str, Any]:
    """All that a store says of its runs and models, without ids, times, and where it lies."""
    client = MlflowClient(uri)
    said = {}
    for name, run in every_run(uri):
        history = {
            key: [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, key)]
            for key in run.data.metrics
        }
        models = client.search_logged_models([run.info.experiment_id])
        said[f"{name} {run.data.tags['input_digest']}"] = {
            "status": run.info.status,
            "params": run.data.params,
            "metrics": history,
            "tags": {key: value for key, value in run.data.tags.items() if not key.startswith(OURS)},
            "data": [(item.dataset.name, item.dataset.digest, item.dataset.source)
                     for item in run.inputs.dataset_inputs] if run.inputs else [],
            "files": sorted(files(client, run.info.run_id)),
            "models": sorted(model.name for model in models if model.source_run_id == run.info.run_id),
        }  # fmt: skip
    for model in client.search_registered_models():
        versions = {
            version.version: version for version in client.search_model_versions(f"name='{model.name}'")
        }
        said[model.name] = {
            "of": sorted(version.tags["variant"] for version in versions.values()),
            "aliases": {alias: versions[number].tags for alias, number in model.aliases.items()},
        }
    return said


def files(client: MlflowClient, run_id: str, folder: str | None = None) -> Iterator[str]:
    """Paths of a run's artifacts."""
    for item in client.list_artifacts(run_id, folder):
        if item.is_dir:
            yield from files(client, run_id, item.path)
        else:
            yield item.path


def wait_for(what: Callable[[], T]) -> T:
    """What a process beside the test brings about, once it has."""
    until = time.monotonic() + PATIENCE
    while not (found := what()):
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.3)
    return found


def brought(project: Project) -> bool:
    """Whether no journal of a training waits to be brought to its store."""
    return not list((project.path / ".dvc/tmp/tracking").glob("*/*.jsonl"))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def serving(
    command: Sequence[str], port: int, folder: Path, path: str = "/health", **more: str
) -> Iterator[str]:
    """A real server process, from when it answers until it is killed with all its children."""
    log = tempfile.TemporaryFile("w+")  # noqa: SIM115
    environment: Mapping[str, str] = clean_environment() | more
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
        with contextlib.suppress(ProcessLookupError):  # it has died
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:  # on a machine that is busy
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()


def mlflow_server(folder: Path, backend: str = "") -> tuple[list[str], int]:
    """The command of an `mlflow server` with its store in `folder`, or in a database, and its port."""
    port = free_port()
    command = [
        "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", backend or f"sqlite:///{folder}/server.db",
        "--artifacts-destination", f"{folder}/artifacts",
    ]  # fmt: skip
    return command, port
