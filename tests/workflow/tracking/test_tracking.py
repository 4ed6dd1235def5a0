"""MLflow has every run once and completely. With real stores and servers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from tests.conftest import OFFLINE, Project, clean_environment
from tests.support.stores import (
    MOST_METRICS,
    RUN_NAMES,
    journals_uploaded,
    mlflow_server_command,
    run_server,
    runs_by_name,
    store_uri,
    wait_for,
)
from workflow.runs.identity import read_inputs


@pytest.fixture(scope="module")
def synced(reproduced: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the reproduced project with a new store, made by `make track`."""
    project = reproduced.copy(tmp_path_factory.mktemp("mirrored") / "project")
    (project.path / "mlflow.db").unlink()
    project.run("python", "-m", "workflow.tracking")
    return project


def test_training_logs_one_live_run_per_model(reproduced: Project) -> None:
    found = runs_by_name(store_uri(reproduced))
    assert set(found) == RUN_NAMES
    for run in found.values():
        assert run.info.status == "FINISHED"
        assert re.fullmatch("[0-9a-f]{32}", run.data.tags["input_digest"])
    client = MlflowClient(store_uri(reproduced))
    history = client.get_metric_history(found["vae/tuned"].info.run_id, "by_epoch/test_elbo")
    training = pd.read_csv(reproduced.path / "reports/vae/tuned/training.csv")
    assert [metric.value for metric in history] == list(training["test_elbo"])
    assert [metric.step for metric in history] == list(training["epoch"])


def test_a_run_has_params_metrics_dataset_figures_and_tags(synced: Project) -> None:
    run = runs_by_name(store_uri(synced))["vae/tuned"]
    assert run.data.params["lr"] == "0.002"
    assert run.data.params["architecture.hidden"] == "[512, 256]"
    assert run.data.params["compute.threads"] == "1"
    assert run.data.params["data.dataset"] == "uci-digits"
    elbo = json.loads((synced.path / "reports/vae/tuned/elbo.json").read_text())
    assert run.data.metrics["elbo/test.elbo"] == elbo["test"]["elbo"]
    assert run.data.metrics["elbo/test.iwae_10"] == elbo["test"]["iwae_10"]
    assert run.inputs is not None
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("uci-digits", elbo["dataset_digest"])
    tags = run.data.tags
    assert (tags["stage"], tags["variant"]) == ("train_vae@tuned", "tuned")
    assert tags["dataset"] == "uci-digits"
    assert tags["git_commit"] == synced.run("git", "rev-parse", "HEAD").strip()
    assert tags["git_dirty"] == "false"
    locked = (synced.path / "dvc.lock").read_text()
    assert tags["model_md5"] in locked
    assert tags["data_md5"] in locked
    client = MlflowClient(store_uri(synced))
    figures = [item.path for item in client.list_artifacts(run.info.run_id, "figures")]
    assert "figures/samples.png" in figures
    made = (synced.path / "reports/figures/vae/tuned").glob("*.png")
    assert figures == sorted(f"figures/{path.name}" for path in made)


def test_a_run_has_the_chosen_metrics_and_the_best_values_of_its_curves(synced: Project) -> None:
    found = runs_by_name(store_uri(synced))
    for name, run in found.items():
        assert len(run.data.metrics) <= MOST_METRICS, name
    metrics = found["vae/tuned"].data.metrics
    assert "elbo/train.iwae_10" not in metrics
    training = pd.read_csv(synced.path / "reports/vae/tuned/training.csv")
    assert metrics["best_test_elbo"] == training["test_elbo"].max()
    assert metrics["best_epoch"] == training.set_index("epoch")["test_elbo"].idxmax()
    metrics = found["classifier/images"].data.metrics
    training = pd.read_csv(synced.path / "reports/classifier/images/training.csv")
    assert metrics["best_test_nll"] == training["test_nll"].min()
    assert metrics["best_test_accuracy"] == training["test_accuracy"].max()
    metrics = found["quadratic/ill_conditioned"].data.metrics
    losses = pd.read_csv(synced.path / "reports/quadratic/ill_conditioned/losses.csv")
    assert metrics["best_gradient descent"] == losses["gradient descent"].min()


def test_a_second_sync_adds_nothing(synced: Project) -> None:
    before = runs_by_name(store_uri(synced))
    client = MlflowClient(store_uri(synced))

    def points() -> dict[str, int]:
        return {
            f"{run.info.run_id} {key}": len(client.get_metric_history(run.info.run_id, key))
            for run in before.values()
            for key in run.data.metrics
        }

    counted = points()
    printed = synced.run("python", "-m", "workflow.tracking")
    assert printed.count("runs are complete") == 1
    for run in before.values():  # as after an interruption: every run is checked again
        client.set_tag(run.info.run_id, "mirrored", "something else")
    printed = synced.run("python", "-m", "workflow.tracking")
    assert re.findall(r"^MLflow: (\d+) of \1 runs completed \(classifier 2, quadratic", printed, re.M)
    assert points() == counted
    assert {name: run.info.run_id for name, run in runs_by_name(store_uri(synced)).items()} == {
        name: run.info.run_id for name, run in before.items()
    }


def test_a_repeated_training_continues_the_same_run(synced: Project, tmp_path: Path) -> None:
    project = synced.copy(tmp_path / "project")
    before = runs_by_name(store_uri(project))["vae/notebook"].info.run_id
    assert project.repro("--force", "--single-item", "train_vae@notebook") == ["train_vae@notebook"]
    assert runs_by_name(store_uri(project))["vae/notebook"].info.run_id == before
    history = MlflowClient(store_uri(project)).get_metric_history(before, "by_epoch/test_elbo")
    assert [metric.step for metric in history] == [1, 2]


@pytest.mark.slow
def test_a_killed_training_ends_its_run_and_resumes_it(synced: Project, tmp_path: Path) -> None:
    project = synced.copy(tmp_path / "project")
    project.edit(r"(\n  notebook:[\s\S]*?)epochs: 2", r"\1epochs: 250")
    before = {run.info.run_id for run in runs_by_name(store_uri(project)).values()}
    process = subprocess.Popen(
        ["dvc", "repro", "train_vae@notebook"], cwd=project.path, env=clean_environment() | OFFLINE,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    client = MlflowClient(store_uri(project))

    def new_runs() -> list[Run]:
        (experiment,) = (item for item in client.search_experiments() if item.name == "vae")
        found = client.search_runs([experiment.experiment_id])
        return [run for run in found if run.info.run_id not in before]

    try:
        while not any("by_epoch/test_elbo" in run.data.metrics for run in new_runs()):
            assert process.poll() is None, "the training ended too early"
            time.sleep(0.2)
        assert [run.info.status for run in new_runs()] == ["RUNNING"]
        # a running training is left alone
        assert "it was killed" not in project.run("python", "-m", "workflow.tracking")
        assert [run.info.status for run in new_runs()] == ["RUNNING"]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    wait_for(lambda: [run.info.status for run in new_runs()] == ["KILLED"])
    (killed,) = new_runs()
    assert "train_vae@notebook" in project.repro("train_vae@notebook")
    wait_for(lambda: journals_uploaded(project))
    (again,) = new_runs()
    assert (again.info.run_id, again.info.status) == (killed.info.run_id, "FINISHED")
    history = client.get_metric_history(again.info.run_id, "by_epoch/test_elbo")
    assert [metric.step for metric in history] == list(range(1, 251))


@pytest.mark.slow
def test_a_moved_folder_finds_its_artifacts_again(synced: Project, tmp_path: Path) -> None:
    first = synced.copy(tmp_path / "first")
    first.run("python", "-m", "workflow.tracking")
    (tmp_path / "first").rename(tmp_path / "second")
    project = Project(tmp_path / "second")
    printed = project.run("python", "-m", "workflow.tracking")
    assert "artifact paths of experiment vae corrected" in printed
    run = runs_by_name(store_uri(project))["vae/tuned"]
    client = MlflowClient(store_uri(project))
    path = client.download_artifacts(run.info.run_id, "figures/samples.png", str(tmp_path))
    original = project.path / "reports/figures/vae/tuned/samples.png"
    assert Path(path).read_bytes() == original.read_bytes()
    assert run.info.artifact_uri.startswith(project.path.as_uri())
    assert "artifact paths" not in project.run("python", "-m", "workflow.tracking")


def test_a_stages_identity_equals_its_inputs_in_dvc_lock(
    reproduced: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(reproduced.path)
    inputs = read_inputs("train_vae@tuned")
    text = (reproduced.path / "dvc.lock").read_text()
    entry = text[text.index("  train_vae@tuned:") :]
    for path, sum_ in inputs.files.items():
        assert re.search(rf"path: {re.escape(path)}\n\s+hash: md5\n\s+md5: {sum_}", entry), path
    assert inputs.params["vae.tuned.lr"] == 0.002
    assert inputs.short_params["data.threshold"] == 0.5
    assert read_inputs("train_vae@notebook").digest != inputs.digest


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A real `mlflow server`."""
    command, port = mlflow_server_command(tmp_path)
    with run_server(command, port, tmp_path) as address:
        yield address


@pytest.mark.slow
def test_one_variable_selects_a_tracking_server(reproduced: Project, server: str, tmp_path: Path) -> None:
    project = reproduced.copy(tmp_path / "project")
    project.run("python", "-m", "workflow.tracking", MLFLOW_TRACKING_URI=server)
    found = runs_by_name(server)
    assert set(found) == RUN_NAMES
    run = found["vae/tuned"]
    path = MlflowClient(server).download_artifacts(run.info.run_id, "figures/samples.png", str(tmp_path))
    original = project.path / "reports/figures/vae/tuned/samples.png"
    assert Path(path).read_bytes() == original.read_bytes()


def test_a_relative_store_path_starts_at_the_main_repository(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from workflow.tracking.live import tracking_uri

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///team/runs.db")
    assert tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/team/runs.db"
    for absolute in ("sqlite:////srv/runs.db", "http://127.0.0.1:5000"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", absolute)
        assert tracking_uri(tmp_path) == absolute
