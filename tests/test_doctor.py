"""`make doctor`: what can break is found, mended or explained, and the next `dvc repro` completes."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import doctor, mending, packages
from pipeline.mending import Finding
from pipeline.params import read
from tests.conftest import Project


def examine(project: Project, status: int = 0) -> str:
    printed = project.run("python", "-m", "pipeline.doctor", status=status)
    assert "Traceback" not in printed
    return printed


def cached(project: Project, path: str) -> Path:
    """The object in DVC's cache that an output was put into."""
    stages = read(project.path / "dvc.lock")["stages"].values()
    (sum_,) = {out["md5"] for stage in stages for out in stage.get("outs", []) if out["path"] == path}
    return project.path / ".dvc/cache/files/md5" / sum_[:2] / sum_[2:]


def flip(path: Path) -> None:
    """Flips a bit in the middle, and leaves the mode as it was."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(mode)


def test_a_healthy_project_has_nothing_to_see_to(project: Project) -> None:
    printed = examine(project)
    assert "!" not in printed
    assert printed.count("ok  ") == len(doctor.CHECKS)


@pytest.mark.parametrize("keep", [0, 300, 20_000])
def test_a_truncated_dvc_lock_is_replaced_and_nothing_is_computed_again(project: Project, keep: int) -> None:
    lock = project.path / "dvc.lock"
    whole = lock.read_bytes()
    lock.write_bytes(whole[:keep].rpartition(b"md5: ")[0] + b"md5: [" if keep else b"")
    printed = examine(project)
    assert "dvc.lock is damaged" in printed
    assert "HEAD's is in its place" in printed
    assert project.repro() == []
    assert lock.read_bytes() == whole


def test_a_merge_conflict_in_dvc_lock_is_explained_and_left_alone(project: Project) -> None:
    lock = project.path / "dvc.lock"
    conflict = "<<<<<<< HEAD\n" + lock.read_text() + "=======\n>>>>>>> other\n"
    lock.write_text(conflict)
    assert "git checkout --ours dvc.lock" in examine(project, status=1)
    assert lock.read_text() == conflict


@pytest.mark.parametrize("content", ["", '{"write": {"data', "[]", '{"write": {"data/x": {"pid": PID}}}'])
def test_a_broken_list_of_who_is_at_work_is_removed(project: Project, content: str) -> None:
    path = project.path / ".dvc/tmp/rwlock"
    path.write_text(content.replace("PID", str(os.getppid())))  # a process that is no dvc
    assert "mended: it is removed" in examine(project)
    assert not path.exists()


def test_the_lock_file_of_a_dead_process_is_removed(project: Project) -> None:
    path = project.path / ".dvc/tmp/lock"
    path.write_text("host|4194303|/somewhere")
    assert "is held by process 4194303, which is dead" in examine(project)
    assert not path.exists()


def test_an_experiment_whose_worker_was_killed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # as DVC writes them: `dvc queue status` shows the first one as Running for ever
    for name, pid, code in (
        ("44d4c949", 4194303, None),
        ("860bad7d", 4194303, 0),
        ("99bee8b2", os.getpid(), None),
    ):
        task = tmp_path / f".dvc/tmp/exps/run/{name}/{name}.json"
        task.parent.mkdir(parents=True)
        task.write_text(json.dumps({"pid": pid, "stdin": None, "returncode": code}))
    (found,) = mending.queue()
    assert "the experiment 44d4c94 counts as running in DVC's queue" in found.what
    assert "`dvc queue kill 44d4c94`" in found.remedy


def test_half_written_files_of_dead_processes_are_removed_and_do_not_count(project: Project) -> None:
    left = project.path / "reports/vae/notebook/.training.csv.4194303.tmp"
    left.write_text("half")
    alive = project.path / f"reports/vae/notebook/.training.csv.{os.getpid()}.tmp"
    alive.write_text("being written")
    cache = project.path / ".dvc/cache/files/md5"
    # as DVC names what it copies into its cache
    abandoned, copied = cache / "49/.NDRQYHVkBGCWaFlpEl8emQ.tmp", cache / ".eSKjACna4nMloDWnqxllTQ.tmp"
    for path in (abandoned, copied):
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    os.utime(abandoned, (1.0e9, 1.0e9))
    assert project.repro() == []  # DVC does not see them
    assert ".training.csv.4194303.tmp and 1 more" in examine(project)
    assert not left.exists()
    assert not abandoned.exists()
    assert alive.exists()
    assert copied.exists()


def test_a_flipped_bit_in_the_cache_is_mended_from_the_working_copy(project: Project) -> None:
    path = cached(project, "models/vae/notebook.safetensors")
    whole = path.read_bytes()
    flip(path)
    assert "it is replaced by models/vae/notebook.safetensors" in examine(project)
    assert path.read_bytes() == whole
    assert path.stat().st_mode & 0o777 == 0o444


def test_outputs_deleted_or_edited_by_hand_come_back(project: Project) -> None:
    lock = (project.path / "dvc.lock").read_bytes()
    edited, deleted = (project.path / f"models/vae/{name}.safetensors" for name in ("notebook", "tuned"))
    whole = edited.read_bytes()
    flip(edited)
    deleted.unlink()
    printed = examine(project, status=1)
    assert "models/vae/notebook.safetensors is not what its stage wrote" in printed
    assert "missing: " in printed
    assert project.repro() == []
    assert edited.read_bytes() == whole
    assert deleted.is_file()
    assert (project.path / "dvc.lock").read_bytes() == lock


@pytest.mark.parametrize("kind", ["cut", "empty", "without tables", "no database"])
def test_a_half_written_store_of_mlflow_is_set_aside_and_made_again(project: Project, kind: str) -> None:
    path = project.path / "mlflow.db"
    whole = path.read_bytes()
    path.unlink()
    if kind == "cut":
        path.write_bytes(whole[: len(whole) // 3])
    elif kind == "without tables":
        with sqlite3.connect(path) as store:
            store.execute("CREATE TABLE experiments (id INTEGER)")
        store.close()
    else:
        path.write_bytes(b"" if kind == "empty" else b"no database at all" * 300)
    printed = examine(project)
    assert "MLflow's store mlflow.db is damaged" in printed
    assert "make track" in printed
    assert not path.exists()
    assert len(list((project.path / ".work/damaged").iterdir())) == 1


def test_what_the_machine_lacks_is_said_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def said(check: Callable[[], Iterator[Finding]]) -> str:
        return " ".join(f"{finding.what}: {finding.remedy}" for finding in check())

    assert said(doctor.room) == ""
    monkeypatch.setattr(doctor, "NEEDED", 1 << 60)
    assert "GiB are free on this disk" in said(doctor.room)
    assert said(doctor.python) == ""
    monkeypatch.setattr(doctor, "OLDEST", (3, 99))
    assert "is too old" in said(doctor.python)
    assert said(doctor.pairing) == ""
    real = packages.installed
    monkeypatch.setattr(packages, "installed", lambda name: "2.12.1" if name == "torch" else real(name))
    pinned = packages.pinned()["torch"]
    assert f"is built for torch =={pinned}, and torch 2.12.1 is installed" in said(doctor.pairing)
    assert f"torch 2.12.1 is installed, and {pinned} is pinned" in said(doctor.versions)


def test_a_limit_of_file_sizes_is_said_where_dvc_says_no_more_than_disk_error(project: Project) -> None:
    printed = project.run("sh", "-c", "ulimit -f 20000; exec python -m pipeline.doctor", status=1)
    assert "MiB here (ulimit -f); a run may need 2048" in printed
    assert "`ulimit -f unlimited`" in printed
    assert "1 to be seen to" in printed


def test_another_installed_version_stops_stages_until_it_is_recorded(project: Project) -> None:
    record = project.path / "data/packages/pandas.json"
    recorded = json.loads(record.read_text())
    recorded["installed"]["pandas"] = "0.25.0"
    record.write_text(json.dumps(recorded))
    project.run("dvc", "commit", "-q", "-f", "record_packages")
    project.edit(r"(\n  ill_conditioned:[\s\S]*?)    lr: 0.8", r"\1    lr: 0.7")
    printed = project.run("dvc", "repro", "-s", "optimize_quadratic@ill_conditioned", status=255)
    number = packages.installed("pandas")
    assert f"pandas: {number} is installed, 0.25.0 recorded" in printed
    assert "Traceback" not in printed
    # `make repro` begins so
    assert f"pandas: {number} is installed" in project.run("python", "-m", "stages.check")
    assert json.loads(record.read_text())["installed"]["pandas"] == number


@pytest.mark.slow
def test_a_pin_that_matters_reruns_what_depends_on_it_and_another_pin_nothing(project: Project) -> None:
    project.edit(r"(?m)^mlflow==.*$", "mlflow==3.99.0", file="constraints.txt")
    assert project.repro() == ["record_packages"]
    project.edit(r"(?m)^networkx==.*$", "networkx==3.99.0", file="constraints.txt")
    printed = project.run("dvc", "repro")
    assert "networkx 3.6.1 is installed, constraints.txt has 3.99.0" in printed
    assert "Running stage 'render_report'" in printed
    assert printed.count("Running stage") == 2
