"""Damaged files reach no stage, do not stop the doctor, and do not cost intact files."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from dvc.repo import Repo
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from voluptuous import Invalid

from tests.conftest import Project
from tests.support.doctor import cached_object, flip_bit, run_doctor
from tests.support.repository import ROOT
from workflow.core.errors import UserError
from workflow.doctor import dvc_files, outputs
from workflow.runs import checkpoints, lockfile, locks, preflight
from workflow.runs.checkpoints import Checkpoints
from workflow.runs.dvc_repo import file_deps


def test_the_preflight_reads_the_same_deps_as_dvc(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.path)
    with Repo(".") as repo:
        assert len(repo.index.stages) > 20
        for stage in repo.index.stages:
            assert sorted(preflight.declared_deps(stage.addressing)) == sorted(file_deps(stage))


@pytest.mark.slow
@pytest.mark.parametrize("recorded", [True, False])
def test_a_damaged_file_in_an_output_folder_reaches_no_other_stage(project: Project, recorded: bool) -> None:
    path = project.path / "data/raw/uci-digits/train-images-idx3-ubyte"
    project.edit(r"threshold: 0.5", "threshold: 0.25")
    if not recorded:
        content = (project.path / "dvc.lock").read_text()
        begin, end = content.index("\n  binarize:\n"), content.index("\n  sample_annuli:\n")
        assert begin < end
        (project.path / "dvc.lock").write_text(content[:begin] + content[end:])
    original = path.read_bytes()
    sums = lockfile.files(
        lockfile.outputs(lockfile.entries(project.path / "dvc.lock")), project.path / lockfile.CACHE
    )
    sum_ = sums[str(path.relative_to(project.path))]
    flip_bit(project.path / lockfile.CACHE / sum_[:2] / sum_[2:])
    path.unlink()
    # DVC restores the file from the damaged object in its cache
    project.run("dvc", "checkout", "-q", "data/raw")
    assert path.read_bytes() != original
    printed = project.run("dvc", "repro", "binarize", status=255)
    assert "inputs of binarize differ from dvc.lock:\n  data/raw/uci-digits/train-images" in printed
    assert "`make doctor`" in printed
    assert "Traceback" not in printed
    assert "is a copy of that damaged object" in run_doctor(project, status=int(recorded))
    project.run("dvc", "repro", "binarize")
    assert path.read_bytes() == original


def test_every_cut_of_dvc_lock_that_dvc_cannot_read_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "dvc.lock").read_text()
    text = text[: text.index("\n  train_classifier")]
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("workflow.doctor.dvc_files.time.sleep", lambda _: None)
    cut = [text.rindex(word) + len(word) for word in ("deps:", "md5:", "size:", "path:", "cmd:", "outs:")]
    cut += [text.rindex("md5: ") + 7, *random.Random(0).sample(range(len(text)), 40)]
    for at in cut:
        lockfile.LOCK.write_text(text[:at])
        try:
            COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(text[:at]))
            readable = True
        except (YAMLError, Invalid):
            readable = False
        found = list(dvc_files.dvc_lock())
        assert readable or found, text[max(0, at - 80) : at]
        lockfile.LOCK.unlink(missing_ok=True)


@pytest.mark.parametrize("content", ["[" * 200_000, "stages:\n  a: {cmd: b, deps: 5}\n", "- " * 100_000, "5"])
def test_a_hostile_dvc_lock_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "dvc.lock"
    path.write_text(content)
    with pytest.raises(UserError, match="is damaged"):
        lockfile.entries(path)


def test_a_dvc_lock_that_is_being_written_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "dvc.lock").read_text()
    lockfile.LOCK.write_text(text[:3000])
    writer = threading.Timer(0.8, lambda: lockfile.LOCK.write_text(text))
    writer.start()
    assert list(dvc_files.dvc_lock()) == []
    writer.join()
    assert lockfile.LOCK.read_text() == text


def test_a_store_whose_writer_was_killed_is_rolled_back_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with sqlite3.connect("mlflow.db") as store:
        store.execute("CREATE TABLE runs (x TEXT)")
        store.execute("CREATE TABLE alembic_version (x TEXT)")
        store.execute("INSERT INTO alembic_version VALUES ('1')")
        store.executemany("INSERT INTO runs VALUES (?)", [("a" * 500,)] * 2000)
    store.close()
    writer = (
        "import os, sqlite3; s = sqlite3.connect('mlflow.db'); s.execute('PRAGMA cache_size=1'); "
        "s.execute('BEGIN'); s.execute(\"UPDATE runs SET x = 'b' || x\"); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", writer])
    assert Path("mlflow.db-journal").is_file(), "the journal of the killed writer is missing"
    assert list(outputs.mlflow_store()) == []
    with sqlite3.connect("mlflow.db") as store:
        (count,) = store.execute("SELECT count(*) FROM runs WHERE x LIKE 'a%'").fetchone()
    store.close()
    assert count == 2000


def test_a_truncated_record_in_the_run_cache_is_set_aside(project: Project) -> None:
    record = next(project.path.glob(".dvc/cache/runs/??/*/*"))
    text = record.read_text()
    record.write_text(text[: text.index("outs:")])
    assert "DVC's record of a run, " in run_doctor(project)
    assert not record.exists()


def test_the_doctor_changes_nothing_while_dvc_is_running(project: Project) -> None:
    dvc = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)", "dvc", "repro"], cwd=project.path
    )
    try:
        owner = f'{{"pid": {dvc.pid}, "cmd": "dvc repro"}}'
        (project.path / ".dvc/tmp/rwlock").write_text(f'{{"read": {{}}, "write": {{"data/x": {owner}}}}}')
        flip_bit(project.path / "models/vae/notebook.safetensors")  # as while dvc is writing it
        damaged = (project.path / "models/vae/notebook.safetensors").read_bytes()
        assert f"dvc (process {dvc.pid}) is running in this folder" in run_doctor(project, status=1)
        project.run("python", "-m", "workflow.doctor", "--first")
        assert (project.path / "models/vae/notebook.safetensors").read_bytes() == damaged
    finally:
        dvc.kill()
        dvc.wait()
    run_doctor(project, status=1)
    assert not (project.path / "models/vae/notebook.safetensors").exists()


def test_one_unreadable_object_does_not_stop_the_doctor(project: Project) -> None:
    path = cached_object(project, "data/annuli.npz")
    path.unlink()
    path.mkdir()
    printed = run_doctor(project, status=1)
    assert f"{path.relative_to(project.path)} cannot be read" in printed
    assert "checkpoints" in printed


def test_the_checkpoint_is_kept_if_the_outputs_cannot_be_copied(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.path)
    shutil.rmtree(".dvc/tmp/results")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for copy_fails in (True, False):
        if copy_fails:
            monkeypatch.setattr(locks, "_copy", full)
        else:
            monkeypatch.undo()
            monkeypatch.chdir(project.path)
        with locks.shared_result("train_vae@notebook") as (inputs, _):
            kept = Checkpoints(inputs)
            monkeypatch.setattr(checkpoints, "MAX_SHARE", 1e9)
            kept.save([{"epoch": 1}], lambda: {"taken": torch.tensor(1)})
        assert kept.folder.exists() is copy_fails
        time.sleep(0.01)
