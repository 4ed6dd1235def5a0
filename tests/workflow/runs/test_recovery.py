"""The real `dvc repro` after kills, signals, limits and concurrent runs ends with the same bytes."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from typing import TypeVar

import psutil
import pytest

from tests.conftest import NO_TRACKING, OFFLINE, Project, clean_environment
from tests.support.processes import (
    complete_folders,
    find_stage,
    find_stages,
    kill_process_tree,
    read_to_end,
    read_until,
    set_notebook_epochs,
    start_process,
    wait_for_checkpoint,
    wait_for_items,
)
from workflow.runs.lockfile import entries

T = TypeVar("T")
STAGE = "train_vae@notebook"
WEIGHTS = "models/vae/notebook.safetensors"


@pytest.mark.slow
@pytest.mark.ci
def test_a_training_killed_twice_and_with_a_damaged_checkpoint_ends_with_the_same_bytes(
    project: Project,
) -> None:
    set_notebook_epochs(project)
    for count in (1, 2):
        killed = start_process(project, "dvc", "repro", STAGE, MLFLOW_TRACKING_URI=NO_TRACKING)
        wait_for_checkpoint(project, count=count)
        kill_process_tree(killed)
    newest = sorted(project.path.glob(".work/*/*.safetensors"))[-1]
    newest.write_bytes(newest.read_bytes()[:5000])
    printed = project.run("dvc", "repro", STAGE, MLFLOW_TRACKING_URI=NO_TRACKING)
    assert f"the checkpoint {newest.name} is damaged" in printed
    assert f"{STAGE}: continues after epoch" in printed, printed
    assert [path.name for path in (project.path / ".work").iterdir()] == ["damaged"]
    weights, lock = ((project.path / path).read_bytes() for path in (WEIGHTS, "dvc.lock"))
    project.run("dvc", "repro", "--force", "--single-item", STAGE, MLFLOW_TRACKING_URI=NO_TRACKING)
    assert (project.path / WEIGHTS).read_bytes() == weights
    assert (project.path / "dvc.lock").read_bytes() == lock


@pytest.mark.slow
def test_after_dvc_alone_is_killed_the_next_run_waits_for_its_stage(
    project: Project,
) -> None:
    set_notebook_epochs(project)
    killed = start_process(project, "dvc", "repro", STAGE, MLFLOW_TRACKING_URI=NO_TRACKING)
    wait_for_checkpoint(project)
    child = find_stage(killed, "train_vae")
    child.suspend()  # until the second dvc waits for it
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait(timeout=300)
    second = start_process(project, "dvc", "repro", STAGE, MLFLOW_TRACKING_URI=NO_TRACKING)
    printed = read_until(second, "another process runs this stage in this folder; waiting for it to end")
    child.resume()
    printed += read_to_end(second)
    assert "outputs copied from another process with the same inputs" in printed
    assert printed.count("epoch ") == 0
    weights = (project.path / WEIGHTS).read_bytes()
    project.run("dvc", "repro", "--force", "--single-item", STAGE, MLFLOW_TRACKING_URI=NO_TRACKING)
    assert (project.path / WEIGHTS).read_bytes() == weights


@pytest.mark.slow
@pytest.mark.parametrize("damage", [False, True])
def test_outputs_that_dvc_did_not_record_are_reused_unless_damaged(project: Project, damage: bool) -> None:
    """Kills DVC after the stage wrote its outputs, before they are in DVC's cache and in dvc.lock."""
    set_notebook_epochs(project, 9)
    shutil.rmtree(project.path / ".dvc/tmp/results")
    before = entries(project.path / "dvc.lock")[STAGE]
    killed = start_process(project, "dvc", "repro", STAGE, MLFLOW_TRACKING_URI=NO_TRACKING)
    wait_for_items(lambda: list(find_stages(killed, "train_vae")))
    psutil.Process(killed.pid).suspend()  # so DVC records nothing
    (copied,) = wait_for_items(lambda: complete_folders(project.path / ".dvc/tmp/results"))
    kill_process_tree(killed)
    assert entries(project.path / "dvc.lock")[STAGE] == before
    weights = (copied / WEIGHTS).read_bytes()
    if damage:
        (copied / WEIGHTS).write_bytes(weights[:-1])
    printed = project.run("dvc", "repro", STAGE, MLFLOW_TRACKING_URI=NO_TRACKING)
    assert ("outputs copied from a run that was killed before DVC recorded it" in printed) is not damage
    assert printed.count("epoch ") <= 9 * damage
    assert (project.path / WEIGHTS).read_bytes() == weights
    assert not list(project.path.glob(".work/*/*.safetensors"))
    # after it is recorded, --force trains again
    printed = project.run("dvc", "repro", "--force", "--single-item", STAGE, MLFLOW_TRACKING_URI=NO_TRACKING)
    assert printed.count("epoch ") == 9
    assert (project.path / WEIGHTS).read_bytes() == weights


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGTERM, 143, "stopped"), (signal.SIGINT, 130, "inter")]
)
def test_a_stopped_stage_prints_a_message(project: Project, number: int, code: int, word: str) -> None:
    set_notebook_epochs(project, 3000)
    first = start_process(
        project, "python", "-m", "workflow", "train_vae", "notebook", MLFLOW_TRACKING_URI=NO_TRACKING
    )
    wait_for_checkpoint(project)
    first.send_signal(number)
    printed, _ = first.communicate(timeout=300)
    assert first.returncode == code
    assert word in printed
    assert "a training continues from its last checkpoint" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("module", "command", "number"),
    [
        ("workflow/core/params.py", ["workflow", "train_vae", "notebook"], signal.SIGINT),
        ("elbo/models/vae.py", ["workflow", "train_vae", "notebook"], signal.SIGTERM),
        ("elbo/models/vae.py", ["workflow", "train_vae", "notebook"], signal.SIGINT),
        ("pages/render.py", ["pages.summary"], signal.SIGINT),
        (
            "workflow/doctor/dvc_files.py",
            ["workflow.doctor", "--first"],
            signal.SIGINT,
        ),  # `make repro` starts with it
    ],
)
def test_a_program_stopped_during_imports_prints_a_message(
    tree: Project, module: str, command: list[str], number: signal.Signals
) -> None:
    code, word = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "stopped by SIGTERM")}[number]
    # the import creates a file when it is reached, then waits for the signal; as libraries do in places, it
    # goes on after any exception
    stop = (
        "import pathlib, time\n\ntry:\n    pathlib.Path('reached').touch()\n    time.sleep(600)\n"
        "except BaseException:\n    pass\n"
    )
    tree.edit(r"(?m)^(?=(import|from) (?!__future__))", stop, file=module)
    first = start_process(tree, "python", "-m", *command)
    wait_for_items(lambda: list(tree.path.glob("reached")))
    first.send_signal(number)
    printed, _ = first.communicate(timeout=300)
    assert first.returncode == code, printed
    assert word in printed
    assert "Traceback" not in printed


@pytest.mark.slow
def test_a_second_dvc_names_the_running_process(project: Project) -> None:
    set_notebook_epochs(project)
    first = start_process(project, "dvc", "repro", STAGE, MLFLOW_TRACKING_URI=NO_TRACKING)
    wait_for_checkpoint(project)
    child = find_stage(first, "train_vae")
    child.suspend()
    printed = project.run("dvc", "repro", STAGE, status=255, MLFLOW_TRACKING_URI=NO_TRACKING)
    child.resume()
    assert "is busy, it is being blocked by" in printed
    assert f"(PID {first.pid})" in printed
    printed, _ = first.communicate(timeout=600)
    assert first.returncode == 0, printed
    assert project.repro(STAGE) == []


@pytest.mark.slow
def test_a_full_disk_is_reported_and_the_next_run_completes(project: Project) -> None:
    """Uses a file size limit; the torture test has smaller ones too, at which DVC's own writes fail."""
    limit = 3_000_000
    before = (project.path / "dvc.lock").read_bytes()
    params = (project.path / "params.yaml").read_text()
    project.edit("seed: 305", "seed: 306", count=0)
    done = subprocess.run(
        ["dvc", "repro"],
        cwd=project.path,
        env=clean_environment() | OFFLINE | {"MLFLOW_TRACKING_URI": NO_TRACKING},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode != 0, done.stdout
    expected = "File too large: models/vae/notebook.safetensors\n  The file would exceed a size limit"
    assert expected in done.stdout, done.stdout
    assert "Traceback" not in done.stdout
    (project.path / "params.yaml").write_text(params)
    project.run("python", "-m", "workflow.doctor", "--first")
    assert project.repro(MLFLOW_TRACKING_URI=NO_TRACKING) == []
    assert (project.path / "dvc.lock").read_bytes() == before


@pytest.mark.slow
def test_training_continues_if_checkpoints_cannot_be_written(project: Project) -> None:
    shutil.rmtree(project.path / ".work", ignore_errors=True)
    (project.path / ".work").write_text("a file where the folder of checkpoints should be")
    weights = (project.path / WEIGHTS).read_bytes()
    printed = project.run("dvc", "repro", "--force", "--single-item", STAGE, MLFLOW_TRACKING_URI=NO_TRACKING)
    assert printed.count("no checkpoints can be written") == 1
    assert (project.path / WEIGHTS).read_bytes() == weights
