"""MLflow and DVC agree however a run was made: in queues, copies, subfolders, or several at once."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.conftest import Project, commit
from tests.support.processes import read_to_end, read_until, start_process
from tests.support.repository import ROOT
from tests.support.stores import (
    RUN_NAMES,
    all_runs,
    delete_store,
    journals_uploaded,
    store_content,
    store_uri,
    wait_for,
)


@pytest.mark.slow
def test_a_temporary_run_and_a_subfolder_log_to_the_main_store(reproduced: Project, tmp_path: Path) -> None:
    project = reproduced.copy(tmp_path / "project")
    project.run("python", "-m", "workflow.tracking")
    before = len(all_runs(store_uri(project)))
    printed = project.run(
        "dvc", "exp", "run", "--temp", "-n", "warmer", "-S", "classifier.images.lr=0.003",
        "train_classifier@images",
    )  # fmt: skip
    assert "Ran experiment" in printed
    subfolder = Project(project.path / "stages")
    printed = subfolder.run("dvc", "repro", "--force", "--single-item", "../dvc.yaml:train_vae@notebook")
    assert "not tracking" not in printed
    subfolder.run("python", "-m", "workflow.tracking")
    assert not list((project.path / "stages").glob("ml*"))
    found = all_runs(store_uri(project))
    assert len(found) == before + 1
    warmer = [name_run for name_run in found if name_run[1].data.tags.get("experiments") == "warmer"]
    (made,) = (run for name, run in warmer if name == "classifier/images")
    assert made.data.params["lr"] == "0.003"
    client = MlflowClient(store_uri(project))
    path = client.download_artifacts(made.info.run_id, "metrics.json", str(tmp_path))
    assert made.data.metrics["metrics/accuracy"] == json.loads(Path(path).read_text())["accuracy"]
    assert Path(made.info.artifact_uri.removeprefix("file://")).is_relative_to(project.path)


@pytest.mark.slow
def test_four_simultaneous_first_runs_are_all_logged(reproduced: Project, tmp_path: Path) -> None:
    projects = [reproduced.copy(tmp_path / f"project{number}") for number in range(4)]
    address = f"sqlite:///{tmp_path}/shared.db"
    processes = []
    for place, project in enumerate(projects):
        project.edit("lr: 0.002", f"lr: 0.00{place + 3}", count=0)
        command = ["dvc", "repro", "--single-item", "train_classifier@images"]
        processes.append(start_process(project, *command, MLFLOW_TRACKING_URI=address))
    for process in processes:
        printed, _ = process.communicate(timeout=600)
        assert process.returncode == 0, printed
        assert "not tracking" not in printed
    wait_for(lambda: all(map(journals_uploaded, projects)))
    found = all_runs(address)
    assert sorted(run.data.params["lr"] for _, run in found) == ["0.003", "0.004", "0.005", "0.006"]
    assert {run.info.status for _, run in found} == {"FINISHED"}


@pytest.mark.slow
def test_the_second_process_with_the_same_inputs_waits_and_copies_the_outputs(
    project: Project,
) -> None:
    project.edit(r"(\n  notebook:[\s\S]*?)epochs: 2", r"\1epochs: 40")
    other = project.copy(project.path.parent / "other")
    # as in a queue: two folders, one main repository
    root = str(project.path)
    first = start_process(project, "python", "-m", "workflow", "train_vae", "notebook", DVC_ROOT=root)
    printed = [read_until(first, "epoch ")]
    first.send_signal(signal.SIGSTOP)  # until the second process waits for it
    (other.path / "models/vae/notebook.safetensors").unlink()
    second = start_process(other, "python", "-m", "workflow", "train_vae", "notebook", DVC_ROOT=root)
    printed.append(read_until(second, "waiting for its outputs"))
    first.send_signal(signal.SIGCONT)
    printed[0] += read_to_end(first)
    printed[1] += read_to_end(second)
    assert printed[0].count("epoch ") == 40
    assert "epoch " not in printed[1]
    for path in ("models/vae/notebook.safetensors", "reports/vae/notebook/training.csv"):
        assert (other.path / path).read_bytes() == (project.path / path).read_bytes()
    # no process is training now, so the next one trains
    again = start_process(other, "python", "-m", "workflow", "train_vae", "notebook", DVC_ROOT=root)
    assert again.communicate(timeout=600)[0].count("epoch ") == 40


@pytest.mark.slow
def test_results_from_the_run_cache_a_remote_or_an_applied_experiment_are_logged(
    project: Project, tmp_path: Path
) -> None:
    remote = tmp_path / "remote"
    project.run("dvc", "remote", "add", "-d", "storage", str(remote))
    project.run("dvc", "push", "-q")
    clone = Project(tmp_path / "clone")
    commit(project)
    project.run("git", "clone", "-q", str(project.path), str(clone.path))
    # results neither computed nor pulled here are logged only with --committed, without weights
    remote.rename(tmp_path / "away")
    printed = clone.run("python", "-m", "workflow.tracking")
    assert "WARNING" not in printed
    assert {name.partition("/")[0] for name, _ in all_runs(store_uri(clone))} == {"quadratic"}
    assert "weights are missing" in clone.run("python", "-m", "workflow.tracking", "--committed")
    assert {name for name, _ in all_runs(store_uri(clone))} == RUN_NAMES
    assert not store_content(store_uri(clone)).keys() & {"vae-encoder", "vae-decoder"}
    (tmp_path / "away").rename(remote)
    clone.run("dvc", "pull", "-q")
    clone.run("python", "-m", "workflow.tracking")
    project.run("python", "-m", "workflow.tracking")
    assert store_content(store_uri(clone)) == store_content(store_uri(project))
    # an experiment without a run in MLflow: applying it computes nothing and logs the run
    printed = project.run("dvc", "exp", "run", "-n", "other", "-S", "quadratic.ill_conditioned.lr=0.7")
    assert "Running stage 'optimize_quadratic@ill_conditioned'" in printed
    project.run("git", "checkout", "-q", ".")
    project.run("dvc", "checkout", "-q")
    project = delete_store(project.copy(tmp_path / "again"))
    project.run("python", "-m", "workflow.tracking")
    found = all_runs(store_uri(project))
    (experiment_run,) = (run for _, run in found if run.data.params.get("lr") == "0.7")
    assert experiment_run.data.tags["experiments"] == "other"
    project.run("dvc", "exp", "apply", "other")
    project.run("dvc", "exp", "remove", "other")
    assert project.repro() == []
    project.run("python", "-m", "workflow.tracking")
    assert len(all_runs(store_uri(project))) == len(found)
    assert "experiments" not in MlflowClient(store_uri(project)).get_run(experiment_run.info.run_id).data.tags


def stage_modules() -> list[str]:
    return sorted(path.stem for path in ROOT.glob("stages/*.py") if path.stem != "__init__")


def test_no_stage_imports_mlflow_before_it_trains(tmp_path: Path) -> None:
    imported = "\n".join(f"import stages.{name}" for name in stage_modules())
    code = f"import sys\n{imported}\nassert not {{'mlflow', 'dvc'}} & set(sys.modules)"
    Project(tmp_path).run("python", "-c", code)
