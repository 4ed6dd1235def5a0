"""However a run was made, MLflow and DVC say the same of it: queues, copies, subfolders, several at once."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.conftest import OFFLINE, Project, clean_environment, commit
from tests.stores import EVERY, brought, content, every_run, store, wait_for


def without_store(project: Project) -> Project:
    """For a project whose store this process has not opened: SQLAlchemy would go on with the deleted file."""
    for name in ("mlflow.db", "mlflow.db.lock"):
        (project.path / name).unlink(missing_ok=True)
    return project


def start(project: Project, *command: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, cwd=project.path, env=clean_environment() | OFFLINE | environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """What a process prints until it has printed these words, which it has to."""
    assert process.stdout
    printed = ""
    for line in process.stdout:
        printed += line
        if words in line:
            return printed
    raise AssertionError(printed)


def rest_of(process: subprocess.Popen[str]) -> str:
    """What it prints from there on; it has to end well."""
    assert process.stdout
    printed = process.stdout.read()
    assert process.wait(timeout=600) == 0, printed
    return printed


@pytest.mark.slow
def test_a_temporary_run_and_a_subfolder_log_to_the_main_store(reproduced: Project, tmp_path: Path) -> None:
    project = reproduced.copy(tmp_path / "project")
    project.run("python", "-m", "stages.track")
    before = len(every_run(store(project)))
    printed = project.run(
        "dvc", "exp", "run", "--temp", "-n", "warmer", "-S", "classifier.images.lr=0.003",
        "train_classifier@images",
    )  # fmt: skip
    assert "Ran experiment" in printed
    below = Project(project.path / "stages")
    printed = below.run("dvc", "repro", "--force", "--single-item", "../dvc.yaml:train_vae@notebook")
    assert "not tracking" not in printed
    below.run("python", "-m", "stages.track")
    assert not list((project.path / "stages").glob("ml*"))
    every = every_run(store(project))
    assert len(every) == before + 1
    of_it = [name_run for name_run in every if name_run[1].data.tags.get("experiments") == "warmer"]
    (made,) = (run for name, run in of_it if name == "classifier/images")
    assert made.data.params["lr"] == "0.003"
    client = MlflowClient(store(project))
    path = client.download_artifacts(made.info.run_id, "metrics.json", str(tmp_path))
    assert made.data.metrics["metrics/accuracy"] == json.loads(Path(path).read_text())["accuracy"]
    assert Path(made.info.artifact_uri.removeprefix("file://")).is_relative_to(project.path)


@pytest.mark.slow
def test_four_first_starts_at_once_lose_no_run(reproduced: Project, tmp_path: Path) -> None:
    projects = [reproduced.copy(tmp_path / f"project{number}") for number in range(4)]
    address = f"sqlite:///{tmp_path}/shared.db"
    processes = []
    for place, project in enumerate(projects):
        project.edit("lr: 0.002", f"lr: 0.00{place + 3}", count=0)
        command = ["dvc", "repro", "--single-item", "train_classifier@images"]
        processes.append(start(project, *command, MLFLOW_TRACKING_URI=address))
    for process in processes:
        printed, _ = process.communicate(timeout=600)
        assert process.returncode == 0, printed
        assert "not tracking" not in printed
    wait_for(lambda: all(map(brought, projects)))
    found = every_run(address)
    assert sorted(run.data.params["lr"] for _, run in found) == ["0.003", "0.004", "0.005", "0.006"]
    assert {run.info.status for _, run in found} == {"FINISHED"}


@pytest.mark.slow
def test_of_two_processes_with_the_same_inputs_the_second_waits_and_takes_the_files(
    project: Project,
) -> None:
    project.edit(r"(\n  notebook:[\s\S]*?)epochs: 2", r"\1epochs: 40")
    other = project.copy(project.path.parent / "other")
    # as in a queue: two folders, one main repository
    root = str(project.path)
    first = start(project, "python", "-m", "stages.train_vae", "notebook", DVC_ROOT=root)
    printed = [read_until(first, "epoch ")]
    first.send_signal(signal.SIGSTOP)  # until the other waits for it
    (other.path / "models/vae/notebook.safetensors").unlink()
    second = start(other, "python", "-m", "stages.train_vae", "notebook", DVC_ROOT=root)
    printed.append(read_until(second, "waiting for its files"))
    first.send_signal(signal.SIGCONT)
    printed[0] += rest_of(first)
    printed[1] += rest_of(second)
    assert printed[0].count("epoch ") == 40
    assert "epoch " not in printed[1]
    for path in ("models/vae/notebook.safetensors", "reports/vae/notebook/training.csv"):
        assert (other.path / path).read_bytes() == (project.path / path).read_bytes()
    # nobody is at work now: whoever comes trains
    again = start(other, "python", "-m", "stages.train_vae", "notebook", DVC_ROOT=root)
    assert again.communicate(timeout=600)[0].count("epoch ") == 40


@pytest.mark.slow
def test_results_from_the_run_cache_a_remote_or_an_applied_experiment_get_their_runs(
    project: Project, tmp_path: Path
) -> None:
    remote = tmp_path / "remote"
    project.run("dvc", "remote", "add", "-d", "storage", str(remote))
    project.run("dvc", "push", "-q")
    clone = Project(tmp_path / "clone")
    commit(project)
    project.run("git", "clone", "-q", str(project.path), str(clone.path))
    # what was neither computed nor pulled here becomes a run when that is asked for; its weights do not come
    remote.rename(tmp_path / "away")
    printed = clone.run("python", "-m", "stages.track")
    assert "WARNING" not in printed
    assert {name.partition("/")[0] for name, _ in every_run(store(clone))} == {"quadratic"}
    assert "no weights" in clone.run("python", "-m", "stages.track", "--committed")
    assert {name for name, _ in every_run(store(clone))} == EVERY
    assert not content(store(clone)).keys() & {"vae-encoder", "vae-decoder"}
    (tmp_path / "away").rename(remote)
    clone.run("dvc", "pull", "-q")
    clone.run("python", "-m", "stages.track")
    project.run("python", "-m", "stages.track")
    assert content(store(clone)) == content(store(project))
    # an experiment, then back, without its run in MLflow; applied, nothing is computed, and it has its run
    printed = project.run("dvc", "exp", "run", "-n", "other", "-S", "quadratic.ill_conditioned.lr=0.7")
    assert "Running stage 'optimize_quadratic@ill_conditioned'" in printed
    project.run("git", "checkout", "-q", ".")
    project.run("dvc", "checkout", "-q")
    project = without_store(project.copy(tmp_path / "again"))
    project.run("python", "-m", "stages.track")
    found = every_run(store(project))
    (of_it,) = (run for _, run in found if run.data.params.get("lr") == "0.7")
    assert of_it.data.tags["experiments"] == "other"
    project.run("dvc", "exp", "apply", "other")
    project.run("dvc", "exp", "remove", "other")
    assert project.repro() == []
    project.run("python", "-m", "stages.track")
    assert len(every_run(store(project))) == len(found)
    assert "experiments" not in MlflowClient(store(project)).get_run(of_it.info.run_id).data.tags


def stage_modules() -> list[str]:
    return sorted(
        path.stem for path in Path(__file__).parent.parent.glob("stages/*.py") if path.stem != "__init__"
    )


def test_no_stage_imports_mlflow_before_it_trains(tmp_path: Path) -> None:
    imported = "\n".join(f"import stages.{name}" for name in stage_modules())
    code = f"import sys\n{imported}\nassert not {{'mlflow', 'dvc'}} & set(sys.modules)"
    Project(tmp_path).run("python", "-c", code)
