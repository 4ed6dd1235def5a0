"""MLflow beside the files: complete, never doubled, never in the way. With real stores and servers."""

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

from pipeline.identity import inputs
from tests.conftest import OFFLINE, Project, clean_environment
from tests.stores import EVERY, brought, mlflow_server, runs, serving, store, wait_for


@pytest.fixture(scope="module")
def mirrored(reproduced: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose store is in another place than it was made in: its own, made by `make track`."""
    project = reproduced.copy(tmp_path_factory.mktemp("mirrored") / "project")
    (project.path / "mlflow.db").unlink()
    project.run("python", "-m", "stages.track")
    return project


def test_training_logs_live_one_run_a_model(reproduced: Project) -> None:
    found = runs(store(reproduced))
    assert set(found) == EVERY
    for run in found.values():
        assert run.info.status == "FINISHED"
        assert re.fullmatch("[0-9a-f]{32}", run.data.tags["input_digest"])
    client = MlflowClient(store(reproduced))
    history = client.get_metric_history(found["vae/tuned"].info.run_id, "by_epoch/test_elbo")
    training = pd.read_csv(reproduced.path / "reports/vae/tuned/training.csv")
    assert [metric.value for metric in history] == list(training["test_elbo"])
    assert [metric.step for metric in history] == list(training["epoch"])


def test_a_run_has_params_metrics_dataset_figures_and_tags(mirrored: Project) -> None:
    run = runs(store(mirrored))["vae/tuned"]
    assert run.data.params["lr"] == "0.002"
    assert run.data.params["hidden"] == "[512, 256]"
    assert run.data.params["compute.threads"] == "1"
    assert run.data.params["data.dataset"] == "uci-digits"
    elbo = json.loads((mirrored.path / "reports/vae/tuned/elbo.json").read_text())
    assert run.data.metrics["elbo/test.elbo"] == elbo["test"]["elbo"]
    assert run.data.metrics["elbo/train.iwae_10"] == elbo["train"]["iwae_10"]
    assert run.inputs is not None
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("uci-digits", elbo["dataset_digest"])
    tags = run.data.tags
    assert (tags["stage"], tags["variant"]) == ("train_vae@tuned", "tuned")
    assert tags["dataset"] == "uci-digits"
    assert tags["git_commit"] == mirrored.run("git", "rev-parse", "HEAD").strip()
    assert tags["git_dirty"] == "false"
    locked = (mirrored.path / "dvc.lock").read_text()
    assert tags["model_md5"] in locked
    assert tags["data_md5"] in locked
    client = MlflowClient(store(mirrored))
    figures = [item.path for item in client.list_artifacts(run.info.run_id, "figures")]
    assert "figures/vae_tuned_samples.png" in figures
    made = (mirrored.path / "reports/figures").glob("vae_tuned_*.png")
    assert figures == sorted(f"figures/{path.name}" for path in made)


def test_mirroring_twice_adds_nothing(mirrored: Project) -> None:
    before = runs(store(mirrored))
    client = MlflowClient(store(mirrored))

    def points() -> dict[str, int]:
        return {
            f"{run.info.run_id} {key}": len(client.get_metric_history(run.info.run_id, key))
            for run in before.values()
            for key in run.data.metrics
        }

    counted = points()
    printed = mirrored.run("python", "-m", "stages.track")
    assert printed.count("runs are complete") == 3
    for run in before.values():  # as after a fault in the middle: everything is looked at again
        client.set_tag(run.info.run_id, "mirrored", "something else")
    assert len(re.findall(r"(\d) of \1 runs completed", mirrored.run("python", "-m", "stages.track"))) == 3
    assert points() == counted
    assert {name: run.info.run_id for name, run in runs(store(mirrored)).items()} == {
        name: run.info.run_id for name, run in before.items()
    }


def test_training_again_goes_on_in_the_same_run(mirrored: Project, tmp_path: Path) -> None:
    project = mirrored.copy(tmp_path / "project")
    before = runs(store(project))["vae/notebook"].info.run_id
    assert project.repro("--force", "--single-item", "train_vae@notebook") == ["train_vae@notebook"]
    assert runs(store(project))["vae/notebook"].info.run_id == before
    history = MlflowClient(store(project)).get_metric_history(before, "by_epoch/test_elbo")
    assert [metric.step for metric in history] == [1, 2]


@pytest.mark.slow
def test_a_killed_training_is_closed_and_goes_on_in_its_own_run(mirrored: Project, tmp_path: Path) -> None:
    project = mirrored.copy(tmp_path / "project")
    project.edit(r"(\n  notebook:[\s\S]*?)epochs: 2", r"\1epochs: 250")
    before = {run.info.run_id for run in runs(store(project)).values()}
    process = subprocess.Popen(
        ["dvc", "repro", "train_vae@notebook"], cwd=project.path, env=clean_environment() | OFFLINE,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    client = MlflowClient(store(project))

    def of_this() -> list[Run]:
        (experiment,) = (item for item in client.search_experiments() if item.name == "vae")
        found = client.search_runs([experiment.experiment_id])
        return [run for run in found if run.info.run_id not in before]

    try:
        while not any("by_epoch/test_elbo" in run.data.metrics for run in of_this()):
            assert process.poll() is None, "it ended before it was seen"
            time.sleep(0.2)
        assert [run.info.status for run in of_this()] == ["RUNNING"]
        # a running one is left alone
        assert "a killed run" not in project.run("python", "-m", "stages.track")
        assert [run.info.status for run in of_this()] == ["RUNNING"]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    wait_for(lambda: [run.info.status for run in of_this()] == ["KILLED"])
    (killed,) = of_this()
    assert "train_vae@notebook" in project.repro("train_vae@notebook")
    wait_for(lambda: brought(project))
    (again,) = of_this()
    assert (again.info.run_id, again.info.status) == (killed.info.run_id, "FINISHED")
    history = client.get_metric_history(again.info.run_id, "by_epoch/test_elbo")
    assert [metric.step for metric in history] == list(range(1, 251))


@pytest.mark.slow
def test_a_moved_folder_finds_its_artifacts_again(mirrored: Project, tmp_path: Path) -> None:
    first = mirrored.copy(tmp_path / "first")
    first.run("python", "-m", "stages.track")
    (tmp_path / "first").rename(tmp_path / "second")
    project = Project(tmp_path / "second")
    printed = project.run("python", "-m", "stages.track")
    assert "the artifacts of experiment vae lie in this folder now" in printed
    run = runs(store(project))["vae/tuned"]
    client = MlflowClient(store(project))
    path = client.download_artifacts(run.info.run_id, "figures/vae_tuned_samples.png", str(tmp_path))
    original = project.path / "reports/figures/vae_tuned_samples.png"
    assert Path(path).read_bytes() == original.read_bytes()
    assert run.info.artifact_uri.startswith(project.path.as_uri())
    assert "lie in this folder now" not in project.run("python", "-m", "stages.track")


def test_a_stages_identity_is_what_dvc_lock_says_it_read(
    reproduced: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(reproduced.path)
    of = inputs("train_vae@tuned")
    text = (reproduced.path / "dvc.lock").read_text()
    entry = text[text.index("  train_vae@tuned:") :]
    for path, sum_ in of.files.items():
        assert re.search(rf"path: {re.escape(path)}\n\s+hash: md5\n\s+md5: {sum_}", entry), path
    assert of.params["vae.tuned.lr"] == 0.002
    assert of.short_params["data.threshold"] == 0.5
    assert inputs("train_vae@notebook").digest != of.digest


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A real `mlflow server`."""
    command, port = mlflow_server(tmp_path)
    with serving(command, port, tmp_path) as address:
        yield address


@pytest.mark.slow
def test_a_server_is_tracked_to_by_one_variable(reproduced: Project, server: str, tmp_path: Path) -> None:
    project = reproduced.copy(tmp_path / "project")
    project.run("python", "-m", "stages.track", MLFLOW_TRACKING_URI=server)
    found = runs(server)
    assert set(found) == EVERY
    run = found["vae/tuned"]
    path = MlflowClient(server).download_artifacts(
        run.info.run_id, "figures/vae_tuned_samples.png", str(tmp_path)
    )
    original = project.path / "reports/figures/vae_tuned_samples.png"
    assert Path(path).read_bytes() == original.read_bytes()


def test_a_relative_store_is_the_main_repositorys_from_everywhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from pipeline.tracking import tracking_uri

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///team/runs.db")
    assert tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/team/runs.db"
    for absolute in ("sqlite:////srv/runs.db", "http://127.0.0.1:5000"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", absolute)
        assert tracking_uri(tmp_path) == absolute
