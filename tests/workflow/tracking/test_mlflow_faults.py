"""MLflow is down, slow, or stops during a run: same results, one message, completed later."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.conftest import Project
from tests.support.processes import start_process
from tests.support.stores import (
    all_runs,
    delete_store,
    journals_uploaded,
    mlflow_server_command,
    run_server,
    store_content,
    store_uri,
    wait_for,
)

DOWN = "http://127.0.0.1:9"
TRAININGS = ["train_classifier@annuli", "train_classifier@images", "train_vae@notebook", "train_vae@tuned"]


@pytest.mark.slow
def test_trainings_without_mlflow_are_completed_later(reproduced: Project, tmp_path: Path) -> None:
    undisturbed = store_content(store_uri(reproduced))
    project = delete_store(reproduced.copy(tmp_path / "project"))
    before = (project.path / "dvc.lock").read_text()
    shutil.rmtree(project.path / "mlartifacts")
    printed = project.run("dvc", "repro", "--force", "--single-item", *TRAININGS, MLFLOW_TRACKING_URI=DOWN)
    assert (project.path / "dvc.lock").read_text() == before
    # a fault after the end of a stage is reported by the next stage, or here
    wait_for(lambda: journals_uploaded(project))
    later = project.run("python", "-m", "workflow.tracking", status=1, MLFLOW_TRACKING_URI=DOWN)
    assert "MLflow cannot be completed" in later
    printed += later
    assert [printed.count(f"MLflow is not tracking {stage}:") for stage in TRAININGS] == [1, 1, 1, 1]
    assert "Traceback" not in printed
    project.run("python", "-m", "workflow.tracking")
    assert store_content(store_uri(project)) == undisturbed


@contextmanager
def silent_server() -> Iterator[str]:
    """A server that accepts every connection and never answers; at the end it closes them."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        connections = []

        def accept() -> None:
            while True:
                try:
                    connections.append(listening.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
    for connection in connections:
        connection.close()


@pytest.mark.slow
def test_a_server_that_never_answers_does_not_stop_training(project: Project) -> None:
    before = (project.path / "dvc.lock").read_text()
    command = ["dvc", "repro", "--force", "--single-item", "train_vae@notebook"]
    with silent_server() as address:
        # a request waits an hour for its answer
        printed = project.run(*command, MLFLOW_TRACKING_URI=address, MLFLOW_HTTP_REQUEST_TIMEOUT="3600")
        assert not journals_uploaded(project)
    assert (project.path / "dvc.lock").read_text() == before
    wait_for(lambda: journals_uploaded(project))
    output = printed + project.run("python", "-m", "workflow.tracking", status=1, MLFLOW_TRACKING_URI=address)
    assert output.count("MLflow is not tracking train_vae@notebook") == 1
    assert "make track" in output
    assert len(re.findall(r"nats +[\d.]+ s", printed)) == 2  # a line for each epoch


@pytest.mark.slow
def test_a_run_whose_server_died_is_completed_later(project: Project, tmp_path: Path) -> None:
    project.edit(r"(\n  notebook:[\s\S]*?)epochs: 2", r"\1epochs: 300")
    command, port = mlflow_server_command(tmp_path)
    with run_server(command, port, tmp_path) as address:
        process = start_process(project, "dvc", "repro", "train_vae@notebook", MLFLOW_TRACKING_URI=address)
        client = MlflowClient(address)
        while not any(
            client.get_metric_history(run.info.run_id, "by_epoch/test_elbo") for _, run in all_runs(address)
        ):
            assert process.poll() is None, "the training ended too early"
            time.sleep(0.3)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    wait_for(lambda: journals_uploaded(project))
    with run_server(command, port, tmp_path) as address:
        printed += project.run("python", "-m", "workflow.tracking", MLFLOW_TRACKING_URI=address)
        assert printed.count("MLflow is not tracking train_vae@notebook") == 1
        ((_, run),) = [pair for pair in all_runs(address) if pair[1].data.params.get("epochs") == "300"]
        assert run.info.status == "FINISHED"
        history = MlflowClient(address).get_metric_history(run.info.run_id, "by_epoch/test_elbo")
        assert [metric.step for metric in history] == list(range(1, 301))


def test_ctrl_c_ends_the_run_as_killed(project: Project) -> None:
    project.edit(r"(\n  notebook:[\s\S]*?)epochs: 2", r"\1epochs: 3000")
    before = {run.info.run_id for _, run in all_runs(store_uri(project))}
    process = start_process(project, "python", "-m", "workflow", "train_vae", "notebook")

    def new_statuses() -> list[str]:
        new = [run for _, run in all_runs(store_uri(project)) if run.info.run_id not in before]
        return [run.info.status for run in new if "by_epoch/test_elbo" in run.data.metrics]

    while not new_statuses():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.3)
    os.kill(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    assert "Traceback" not in printed
    wait_for(lambda: new_statuses() == ["KILLED"])
