"""Kills, signals, limits and two at once, by the real `dvc repro`: the end has the same bytes."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from pipeline.lockfile import entries
from tests.conftest import OFF, OFFLINE, Project, clean_environment
from tests.test_everywhere import read_until, rest_of, start

T = TypeVar("T")
STAGE = "train_vae@notebook"
WEIGHTS = "models/vae/notebook.safetensors"


def longer(project: Project, epochs: int = 80) -> Project:
    """More epochs for one training, so that there is a middle to be killed in."""
    project.edit(r"(\n  notebook:[\s\S]*?)epochs: 2\b", rf"\1epochs: {epochs}")
    return project


def child_of(process: subprocess.Popen[str], module: str) -> psutil.Process:
    """The Python that runs the module; the shell that DVC starts it by may or may not still stand between."""
    (child,) = family(process, module)
    return child


def family(process: subprocess.Popen[str], module: str) -> Iterator[psutil.Process]:
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.cmdline()[1:3] == ["-m", module]:
                yield child


def wait_for(look: Callable[[], list[T]], seconds: float = 600, count: int = 1) -> list[T]:
    """Until there are so many; returns them."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        found = look()
        if len(found) >= count:
            return found
        time.sleep(0.01)
    raise AssertionError("what was waited for did not come")


def wait_for_checkpoint(project: Project, count: int = 1) -> None:
    wait_for(lambda: list(project.path.glob(".work/*/*.safetensors")), count=count)


def folders(parent: Path) -> list[Path]:
    """Those that are complete: of a folder that is being made the name has a number at its end."""
    return [path for path in parent.glob("*") if path.is_dir() and not path.suffix]


def kill_family(process: subprocess.Popen[str]) -> None:
    parent = psutil.Process(process.pid)
    for member in [parent, *parent.children(recursive=True)]:
        member.kill()
    process.communicate(timeout=300)


@pytest.mark.slow
@pytest.mark.spine
def test_a_training_killed_twice_and_with_a_damaged_checkpoint_ends_with_the_same_bytes(
    project: Project,
) -> None:
    longer(project)
    for count in (1, 2):
        killed = start(project, "dvc", "repro", STAGE, MLFLOW_TRACKING_URI=OFF)
        wait_for_checkpoint(project, count=count)
        kill_family(killed)
    newest = sorted(project.path.glob(".work/*/*.safetensors"))[-1]
    newest.write_bytes(newest.read_bytes()[:5000])
    printed = project.run("dvc", "repro", STAGE, MLFLOW_TRACKING_URI=OFF)
    assert f"the checkpoint {newest.name} is damaged" in printed
    assert f"{STAGE}: goes on after epoch" in printed, printed
    assert [path.name for path in (project.path / ".work").iterdir()] == ["damaged"]
    weights, lock = ((project.path / path).read_bytes() for path in (WEIGHTS, "dvc.lock"))
    project.run("dvc", "repro", "--force", "--single-item", STAGE, MLFLOW_TRACKING_URI=OFF)
    assert (project.path / WEIGHTS).read_bytes() == weights
    assert (project.path / "dvc.lock").read_bytes() == lock


@pytest.mark.slow
def test_when_dvc_alone_is_killed_the_next_one_waits_for_its_child_and_trains_nothing_twice(
    project: Project,
) -> None:
    longer(project)
    killed = start(project, "dvc", "repro", STAGE, MLFLOW_TRACKING_URI=OFF)
    wait_for_checkpoint(project)
    child = child_of(killed, "stages.train_vae")
    child.suspend()  # until the other waits for it
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait(timeout=300)
    second = start(project, "dvc", "repro", STAGE, MLFLOW_TRACKING_URI=OFF)
    printed = read_until(second, "another process is at work on it in this folder; waiting for it to end")
    child.resume()
    printed += rest_of(second)
    assert "trained by another process on the same inputs; its files are taken" in printed
    assert printed.count("epoch ") == 0
    weights = (project.path / WEIGHTS).read_bytes()
    project.run("dvc", "repro", "--force", "--single-item", STAGE, MLFLOW_TRACKING_URI=OFF)
    assert (project.path / WEIGHTS).read_bytes() == weights


@pytest.mark.slow
@pytest.mark.parametrize("damage", [False, True])
def test_a_training_that_dvc_could_not_record_any_more_is_not_repeated_but_a_damaged_copy_is(
    project: Project, damage: bool
) -> None:
    """Killed after the last write of the stage, before DVC has the outputs in its cache and in dvc.lock."""
    longer(project, 9)
    shutil.rmtree(project.path / ".dvc/tmp/turns")
    before = entries(project.path / "dvc.lock")[STAGE]
    killed = start(project, "dvc", "repro", STAGE, MLFLOW_TRACKING_URI=OFF)
    wait_for(lambda: list(family(killed, "stages.train_vae")))
    psutil.Process(killed.pid).suspend()  # it will record nothing
    (offer,) = wait_for(lambda: folders(project.path / ".dvc/tmp/turns"))
    kill_family(killed)
    assert entries(project.path / "dvc.lock")[STAGE] == before
    weights = (offer / WEIGHTS).read_bytes()
    if damage:
        (offer / WEIGHTS).write_bytes(weights[:-1])
    printed = project.run("dvc", "repro", STAGE, MLFLOW_TRACKING_URI=OFF)
    assert ("a run that ended before DVC had recorded it; its files are taken" in printed) is not damage
    assert printed.count("epoch ") <= 9 * damage
    assert (project.path / WEIGHTS).read_bytes() == weights
    assert not list(project.path.glob(".work/*/*.safetensors"))
    # once it is recorded, force means what it says
    printed = project.run("dvc", "repro", "--force", "--single-item", STAGE, MLFLOW_TRACKING_URI=OFF)
    assert printed.count("epoch ") == 9
    assert (project.path / WEIGHTS).read_bytes() == weights


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGTERM, 143, "stopped"), (signal.SIGINT, 130, "inter")]
)
def test_a_stage_that_is_told_to_stop_says_so(project: Project, number: int, code: int, word: str) -> None:
    longer(project, 3000)
    first = start(project, "python", "-m", "stages.train_vae", "notebook", MLFLOW_TRACKING_URI=OFF)
    wait_for_checkpoint(project)
    first.send_signal(number)
    printed, _ = first.communicate(timeout=300)
    assert first.returncode == code
    assert word in printed
    assert "a training goes on from its last checkpoint" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("module", "command", "number"),
    [
        ("pipeline/params.py", ["stages.train_vae", "notebook"], signal.SIGINT),
        ("elbo/vae.py", ["stages.train_vae", "notebook"], signal.SIGTERM),
        ("pipeline/mending.py", ["pipeline.doctor", "--first"], signal.SIGINT),  # `make repro` begins so
    ],
)
def test_a_program_that_is_stopped_while_it_imports_says_so(
    tree: Project, module: str, command: list[str], number: signal.Signals
) -> None:
    code, word = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "stopped by SIGTERM")}[number]
    # the import says when it is reached, and takes as long as the signal does
    stop = "annotations\nimport pathlib, time\n\npathlib.Path('reached').touch()\ntime.sleep(600)\n"
    tree.edit("annotations\n", stop, file=module)
    first = start(tree, "python", "-m", *command)
    wait_for(lambda: list(tree.path.glob("reached")))
    first.send_signal(number)
    printed, _ = first.communicate(timeout=300)
    assert first.returncode == code, printed
    assert word in printed
    assert "Traceback" not in printed


@pytest.mark.slow
def test_of_two_at_once_the_second_says_who_is_at_work(project: Project) -> None:
    longer(project)
    first = start(project, "dvc", "repro", STAGE, MLFLOW_TRACKING_URI=OFF)
    wait_for_checkpoint(project)
    child = child_of(first, "stages.train_vae")
    child.suspend()
    printed = project.run("dvc", "repro", STAGE, status=255, MLFLOW_TRACKING_URI=OFF)
    child.resume()
    assert "is busy, it is being blocked by" in printed
    assert f"(PID {first.pid})" in printed
    said, _ = first.communicate(timeout=600)
    assert first.returncode == 0, said
    assert project.repro(STAGE) == []


@pytest.mark.slow
def test_a_disk_that_fills_up_is_said_and_the_next_run_completes(project: Project) -> None:
    """By a limit on the size of files; torture has smaller ones too, by which DVC's own writes fail."""
    limit = 3_000_000
    before = (project.path / "dvc.lock").read_bytes()
    params = (project.path / "params.yaml").read_text()
    project.edit("seed: 305", "seed: 306", count=0)
    done = subprocess.run(
        ["dvc", "repro"],
        cwd=project.path,
        env=clean_environment() | OFFLINE | {"MLFLOW_TRACKING_URI": OFF},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode != 0, done.stdout
    said = "File too large: models/vae/notebook.safetensors\n  The file would exceed a size limit"
    assert said in done.stdout, done.stdout
    assert "Traceback" not in done.stdout
    (project.path / "params.yaml").write_text(params)
    project.run("python", "-m", "pipeline.doctor", "--first")
    assert project.repro(MLFLOW_TRACKING_URI=OFF) == []
    assert (project.path / "dvc.lock").read_bytes() == before


@pytest.mark.slow
def test_a_checkpoint_on_a_full_disk_costs_no_training(project: Project) -> None:
    shutil.rmtree(project.path / ".work", ignore_errors=True)
    (project.path / ".work").write_text("a file where the folder of checkpoints should be")
    weights = (project.path / WEIGHTS).read_bytes()
    printed = project.run("dvc", "repro", "--force", "--single-item", STAGE, MLFLOW_TRACKING_URI=OFF)
    assert printed.count("no checkpoints can be written") == 1
    assert (project.path / WEIGHTS).read_bytes() == weights
