"""MLflow down, slow, or failing in the middle: results are the same, it is said once, and made good later."""

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
from tests.stores import brought, content, every_run, mlflow_server, serving, store, wait_for
from tests.test_everywhere import start, without_store

DOWN = "http://127.0.0.1:9"
TRAININGS = ["train_classifier@annuli", "train_classifier@images", "train_vae@notebook", "train_vae@tuned"]


@pytest.mark.slow
def test_trained_without_mlflow_and_completed_later_is_as_if_it_had_been_there(
    reproduced: Project, tmp_path: Path
) -> None:
    undisturbed = content(store(reproduced))
    project = without_store(reproduced.copy(tmp_path / "project"))
    before = (project.path / "dvc.lock").read_text()
    shutil.rmtree(project.path / "mlartifacts")
    printed = project.run("dvc", "repro", "--force", "--single-item", *TRAININGS, MLFLOW_TRACKING_URI=DOWN)
    assert (project.path / "dvc.lock").read_text() == before
    # what fails after its stage has ended is said by the next one, or here
    wait_for(lambda: brought(project))
    later = project.run("python", "-m", "stages.track", status=1, MLFLOW_TRACKING_URI=DOWN)
    assert "MLflow cannot be completed" in later
    printed += later
    assert [printed.count(f"MLflow is not tracking {stage}:") for stage in TRAININGS] == [1, 1, 1, 1]
    assert "Traceback" not in printed
    project.run("python", "-m", "stages.track")
    assert content(store(project)) == undisturbed


@contextmanager
def silent() -> Iterator[str]:
    """A server that takes every connection and never answers; at the end it hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        taken = []

        def take() -> None:
            while True:
                try:
                    taken.append(listening.accept()[0])
                except OSError:
                    return

        threading.Thread(target=take, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
    for connection in taken:
        connection.close()


@pytest.mark.slow
def test_a_server_that_never_answers_costs_no_epoch(project: Project) -> None:
    before = (project.path / "dvc.lock").read_text()
    command = ["dvc", "repro", "--force", "--single-item", "train_vae@notebook"]
    with silent() as address:
        # whoever waits for an answer waits for an hour
        printed = project.run(*command, MLFLOW_TRACKING_URI=address, MLFLOW_HTTP_REQUEST_TIMEOUT="3600")
        assert not brought(project)
    assert (project.path / "dvc.lock").read_text() == before
    wait_for(lambda: brought(project))
    said = printed + project.run("python", "-m", "stages.track", status=1, MLFLOW_TRACKING_URI=address)
    assert said.count("MLflow is not tracking train_vae@notebook") == 1
    assert "make track" in said
    assert len(re.findall(r"nats +[\d.]+ s", printed)) == 2  # a line for each epoch


@pytest.mark.slow
def test_a_server_that_dies_in_the_middle_is_made_good(project: Project, tmp_path: Path) -> None:
    project.edit(r"(\n  notebook:[\s\S]*?)epochs: 2", r"\1epochs: 300")
    command, port = mlflow_server(tmp_path)
    with serving(command, port, tmp_path) as address:
        process = start(project, "dvc", "repro", "train_vae@notebook", MLFLOW_TRACKING_URI=address)
        client = MlflowClient(address)
        while not any(
            client.get_metric_history(run.info.run_id, "by_epoch/test_elbo") for _, run in every_run(address)
        ):
            assert process.poll() is None, "it ended before it was seen"
            time.sleep(0.3)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    wait_for(lambda: brought(project))
    with serving(command, port, tmp_path) as address:
        printed += project.run("python", "-m", "stages.track", MLFLOW_TRACKING_URI=address)
        assert printed.count("MLflow is not tracking train_vae@notebook") == 1
        ((_, run),) = [pair for pair in every_run(address) if pair[1].data.params.get("epochs") == "300"]
        assert run.info.status == "FINISHED"
        history = MlflowClient(address).get_metric_history(run.info.run_id, "by_epoch/test_elbo")
        assert [metric.step for metric in history] == list(range(1, 301))


def test_ctrl_c_ends_the_run_as_killed(project: Project) -> None:
    project.edit(r"(\n  notebook:[\s\S]*?)epochs: 2", r"\1epochs: 3000")
    before = {run.info.run_id for _, run in every_run(store(project))}
    process = start(project, "python", "-m", "stages.train_vae", "notebook")

    def made() -> list[str]:
        new = [run for _, run in every_run(store(project)) if run.info.run_id not in before]
        return [run.info.status for run in new if "by_epoch/test_elbo" in run.data.metrics]

    while not made():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.3)
    os.kill(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    assert "Traceback" not in printed
    wait_for(lambda: made() == ["KILLED"])
