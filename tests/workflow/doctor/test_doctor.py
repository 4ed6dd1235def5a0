"""`make doctor` finds faults, repairs or explains them, and the next `dvc repro` completes."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.support.doctor import cached_object, flip_bit, run_doctor
from workflow.core import packages
from workflow.doctor import dvc_files, machine
from workflow.doctor.__main__ import CHECKS


def test_a_healthy_project_has_no_findings(project: Project) -> None:
    printed = run_doctor(project)
    assert "!" not in printed
    assert printed.count("ok  ") == len(CHECKS)


@pytest.mark.parametrize("keep", [0, 300, 20_000])
def test_a_truncated_dvc_lock_is_replaced_and_nothing_is_computed_again(project: Project, keep: int) -> None:
    lock = project.path / "dvc.lock"
    original = lock.read_bytes()
    lock.write_bytes(original[:keep].rpartition(b"md5: ")[0] + b"md5: [" if keep else b"")
    printed = run_doctor(project)
    assert "dvc.lock is damaged" in printed
    assert "HEAD's is in its place" in printed
    assert project.repro() == []
    assert lock.read_bytes() == original


def test_a_merge_conflict_in_dvc_lock_is_explained_and_left_alone(project: Project) -> None:
    lock = project.path / "dvc.lock"
    conflict = "<<<<<<< HEAD\n" + lock.read_text() + "=======\n>>>>>>> other\n"
    lock.write_text(conflict)
    assert "git checkout --ours dvc.lock" in run_doctor(project, status=1)
    assert lock.read_text() == conflict


@pytest.mark.parametrize("content", ["", '{"write": {"data', "[]", '{"write": {"data/x": {"pid": PID}}}'])
def test_a_damaged_list_of_running_processes_is_removed(project: Project, content: str) -> None:
    path = project.path / ".dvc/tmp/rwlock"
    path.write_text(content.replace("PID", str(os.getppid())))  # a process that is not dvc
    assert "repaired: it is removed" in run_doctor(project)
    assert not path.exists()


def test_an_experiment_whose_worker_was_killed_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # as DVC writes them; `dvc queue status` would always show the first one as Running
    for name, pid, code in (
        ("44d4c949", 4194303, None),
        ("860bad7d", 4194303, 0),
        ("99bee8b2", os.getpid(), None),
    ):
        task = tmp_path / f".dvc/tmp/exps/run/{name}/{name}.json"
        task.parent.mkdir(parents=True)
        task.write_text(json.dumps({"pid": pid, "stdin": None, "returncode": code}))
    (found,) = dvc_files.queue()
    assert "the experiment 44d4c94 counts as running in DVC's queue" in found.fault
    assert "`dvc queue kill 44d4c94`" in found.remedy


def test_half_written_files_of_dead_processes_are_removed_and_do_not_count(project: Project) -> None:
    left = project.path / "reports/vae/notebook/.training.csv.4194303.tmp"
    left.write_text("half")
    alive = project.path / f"reports/vae/notebook/.training.csv.{os.getpid()}.tmp"
    alive.write_text("being written")
    (project.path / "data/.notes.4194303.tmp").mkdir()  # a user's
    cache = project.path / ".dvc/cache/files/md5"
    # DVC's names for files that it copies into its cache
    abandoned, copied = cache / "49/.NDRQYHVkBGCWaFlpEl8emQ.tmp", cache / ".eSKjACna4nMloDWnqxllTQ.tmp"
    for path in (abandoned, copied):
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    os.utime(abandoned, (1.0e9, 1.0e9))
    assert project.repro() == []  # DVC does not see them
    assert ".training.csv.4194303.tmp and 1 more" in run_doctor(project)
    assert not left.exists()
    assert not abandoned.exists()
    assert alive.exists()
    assert copied.exists()


def test_a_dvc_that_only_reads_does_not_count_as_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dvc_files, "_is_dvc", lambda _pid: True)
    dvc_files.RWLOCK.parent.mkdir(parents=True)
    dvc_files.RWLOCK.write_text('{"read": {"data/x": [{"pid": 4711, "cmd": "dvc status"}]}}')
    assert dvc_files.running_dvc() == []
    dvc_files.RWLOCK.write_text('{"write": {"data/x": {"pid": 4711, "cmd": "dvc repro"}}}')
    assert dvc_files.running_dvc() == [4711]


def test_a_flipped_bit_in_the_cache_is_repaired_from_the_working_copy(project: Project) -> None:
    path = cached_object(project, "models/vae/notebook.safetensors")
    original = path.read_bytes()
    flip_bit(path)
    assert "it is replaced by a copy of models/vae/notebook.safetensors" in run_doctor(project)
    assert path.read_bytes() == original
    assert path.stat().st_mode & 0o777 == 0o444


def test_outputs_deleted_or_edited_by_hand_are_restored(project: Project) -> None:
    lock = (project.path / "dvc.lock").read_bytes()
    edited, deleted = (project.path / f"models/vae/{name}.safetensors" for name in ("notebook", "tuned"))
    original = edited.read_bytes()
    flip_bit(edited)
    deleted.unlink()
    printed = run_doctor(project, status=1)
    assert "models/vae/notebook.safetensors differs from dvc.lock" in printed
    assert "missing: " in printed
    assert project.repro() == []
    assert edited.read_bytes() == original
    assert deleted.is_file()
    assert (project.path / "dvc.lock").read_bytes() == lock


@pytest.mark.parametrize("kind", ["cut", "empty", "without tables", "no database"])
def test_a_damaged_mlflow_store_is_set_aside(project: Project, kind: str) -> None:
    path = project.path / "mlflow.db"
    original = path.read_bytes()
    path.unlink()
    if kind == "cut":
        path.write_bytes(original[: len(original) // 3])
    elif kind == "without tables":
        with sqlite3.connect(path) as store:
            store.execute("CREATE TABLE experiments (id INTEGER)")
        store.close()
    else:
        path.write_bytes(b"" if kind == "empty" else b"no database at all" * 300)
    printed = run_doctor(project)
    assert "MLflow's store mlflow.db is damaged" in printed
    assert "make track" in printed
    assert not path.exists()
    assert len(list((project.path / ".work/damaged").iterdir())) == 1


def test_low_disk_space_and_wrong_versions_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(machine.disk_space()) == []
    monkeypatch.setattr(machine, "NEEDED", 1 << 60)
    assert "GiB are free on this disk" in str(next(machine.disk_space()))
    installed = packages.installed
    monkeypatch.setattr(packages, "installed", lambda name: "2.12.1" if name == "torch" else installed(name))
    fault = f"torch: 2.12.1 is installed, {packages.pinned()['torch']} is pinned"
    assert fault in {finding.fault for finding in machine.versions()}


def test_a_low_file_size_limit_is_reported(project: Project) -> None:
    printed = project.run("sh", "-c", "ulimit -f 20000; exec python -m workflow.doctor", status=1)
    assert "MiB here (ulimit -f); a run may need 2048" in printed
    assert "`ulimit -f unlimited`" in printed
    assert "1 problem left" in printed


def test_another_installed_version_stops_stages_until_it_is_recorded(project: Project) -> None:
    record = project.path / "data/packages/arithmetic/pandas.json"
    recorded = json.loads(record.read_text())
    recorded["installed"]["pandas"] = "0.25.0"
    record.write_text(json.dumps(recorded))
    project.run("dvc", "commit", "-q", "-f", "record_packages")
    project.edit(r"(\n  ill_conditioned:[\s\S]*?)    lr: 0.8", r"\1    lr: 0.7")
    printed = project.run("dvc", "repro", "-s", "optimize_quadratic@ill_conditioned", status=255)
    number = packages.installed("pandas")
    assert f"pandas: {number} is installed, 0.25.0 recorded" in printed
    assert "Traceback" not in printed
    # `make repro` starts with this command
    assert f"pandas: {number} is installed" in project.run("python", "-m", "workflow.doctor", "--first")
    assert json.loads(record.read_text())["installed"]["pandas"] == number


@pytest.mark.slow
def test_a_changed_pin_reruns_only_the_stages_that_depend_on_it(project: Project) -> None:
    project.edit(r"(?m)^mlflow==.*$", "mlflow==3.99.0", file="constraints.txt")
    assert project.repro() == ["record_packages"]
    project.edit(r"(?m)^latex2mathml==.*$", "latex2mathml==3.99.0", file="constraints.txt")
    printed = project.run("dvc", "repro")
    assert "constraints.txt has 3.99.0" in printed
    assert "Running stage 'render_report'" in printed
    assert printed.count("Running stage") == 2
