"""Sync leaves runs of others alone, and handles unreadable commits and deleted experiments."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from sqlalchemy.engine import make_url

from tests.conftest import Project, commit
from tests.support.stores import runs_by_name, store_uri
from workflow.runs.locks import training_lock
from workflow.tracking.live import tracking_uri
from workflow.tracking.store import Store, artifacts_uri, relocate_artifacts

ODD_NAMES = ('My%20Project 100% a?b=c&d :x it\'s "q"', "[x]*%3F; it's ü#%25?e+f")


@pytest.fixture
def clones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two folders that share the store of the first."""
    for name in ("one", "two"):
        (tmp_path / name / ".dvc").mkdir(parents=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/one/mlflow.db")
    return tmp_path / "one", tmp_path / "two"


def running(opened: Store, owner: str, digest: str) -> str:
    tags = {"host": owner, "input_digest": digest, "stage": "train_vae@tuned"}
    return str(opened.client.create_run(opened.experiment("vae"), tags=tags).info.run_id)


def test_runs_of_another_clone_or_machine_stay_running(
    clones: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = clones
    monkeypatch.chdir(one)
    opened = Store()
    owners = {
        f"{platform.node()}:{one}": "KILLED",
        f"{platform.node()}:{two}": "RUNNING",
        "elsewhere:/gone": "KILLED",  # the store was moved here with its folder
    }
    made = {
        running(opened, owner, f"{number:032}"): state for number, (owner, state) in enumerate(owners.items())
    }
    foreign = opened.client.create_run(opened.experiment("vae"), tags={"host": "a person's own run"})
    assert len(opened.close_killed()) == 2
    assert {run_id: opened.client.get_run(run_id).info.status for run_id in made} == made
    assert opened.client.get_run(foreign.info.run_id).info.status == "RUNNING"
    # a running training of this folder is left alone, too
    active = running(opened, opened.owner, "f" * 32)
    with training_lock(one, "f" * 32):
        assert opened.close_killed() == []
    assert opened.client.get_run(active).info.status == "RUNNING"


def test_artifacts_of_another_clone_stay_where_they_are(
    clones: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = clones
    monkeypatch.chdir(two)
    other_store = Store()
    run = other_store.client.create_run(other_store.experiment("vae"))
    other_store.client.log_text(run.info.run_id, "here", "file.txt")
    monkeypatch.chdir(one)
    store = Store()
    assert relocate_artifacts(store) == []
    experiment = store.client.get_experiment_by_name("vae")
    assert experiment is not None
    assert experiment.artifact_location == artifacts_uri(two, "vae")
    assert [item.path for item in store.client.list_artifacts(run.info.run_id)] == ["file.txt"]


def test_a_store_works_in_a_folder_of_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    before, after = (tmp_path / name for name in ODD_NAMES)
    (before / ".dvc").mkdir(parents=True)
    monkeypatch.chdir(before)
    store = Store()
    run_id = running(store, store.owner, "0" * 32)
    store.client.log_text(run_id, "here", "file.txt")
    monkeypatch.chdir(before.rename(after))
    moved = Store()
    assert relocate_artifacts(moved) == ["vae"]
    path = moved.client.download_artifacts(run_id, "file.txt", str(tmp_path))
    assert Path(path).read_text() == "here"
    assert (after / "mlflow.db").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {ODD_NAMES[1], "file.txt"}


@pytest.mark.parametrize("name", [*ODD_NAMES, "a b", "ü#+;'"])
def test_the_address_of_a_store_says_what_sqlalchemy_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    address = tracking_uri(folder)
    assert make_url(address).database == f"{folder}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{address}?timeout=5")
    assert tracking_uri(tmp_path) == f"{address}?timeout=5"
    if "?" not in name:  # as a person writes it
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        assert tracking_uri(tmp_path) == address


def test_an_unreadable_experiment_is_left_out_and_the_others_are_logged(project: Project) -> None:
    pipeline = (project.path / "dvc.yaml").read_text()
    (project.path / "dvc.yaml").write_text("stages: [")
    commit(project)
    broken = project.run("git", "rev-parse", "HEAD").strip()
    base = project.run("git", "rev-parse", "HEAD~1").strip()
    project.run("git", "update-ref", f"refs/exps/{base[:2]}/{base[2:]}/broken", broken)
    printed = project.run("python", "-m", "workflow.tracking", status=1)
    assert "error: DVC cannot read this project" in printed
    assert "Traceback" not in printed
    (project.path / "dvc.yaml").write_text(pipeline)
    printed = project.run("python", "-m", "workflow.tracking")
    assert "HEAD is left out" in printed
    assert "broken is left out" in printed
    assert re.search(r"^MLflow: \d+ runs are complete \(.*vae 2\)$", printed, re.M)


@pytest.mark.slow
def test_the_alias_moves_when_its_run_is_deleted(project: Project) -> None:
    project.run("python", "-m", "workflow.tracking")
    client = MlflowClient(store_uri(project))
    best = client.get_model_version_by_alias("vae-decoder", "best-on-test")
    client.delete_run(str(best.run_id))
    project.run("python", "-m", "workflow.tracking")
    again = client.get_model_version_by_alias("vae-decoder", "best-on-test")
    assert again.run_id != best.run_id
    assert again.run_id in {run.info.run_id for run in runs_by_name(store_uri(project)).values()}
