"""Bad input to the real `dvc repro`: one clear message, no traceback, earlier outputs unchanged."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import OFFLINE, Project, clean_environment
from tests.support.repository import ROOT
from workflow.core.params import set_params


def outputs(project: Project) -> dict[Path, bytes]:
    return {
        path: path.read_bytes()
        for folder in ("data", "models", "reports")
        for path in (project.path / folder).rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (r"(\n  notebook:[\s\S]*?)    lr: 0.0003", r"\1    lr: fast", 'lr: "fast" is not a number'),
        (r"(\n  notebook:[\s\S]*?)    epochs: 2", r"\1    epochs: 0", "vae.notebook.epochs: 0 is too small"),
        (r"(\n  notebook:[\s\S]*?)batch_size", r"\1batch_sizes", "unknown key; did you mean batch_size?"),
    ],
)  # fmt: skip
def test_a_fault_in_params_stops_before_any_work(project: Project, old: str, new: str, expected: str) -> None:
    before = outputs(project)
    project.edit(old, new)
    printed = project.run("dvc", "repro", status=255)
    assert expected in printed
    assert "Traceback" not in printed
    # DVC removed this output before its stage ran; all other outputs are unchanged
    checked = project.path / "data/params_checked.json"
    assert not checked.exists()
    assert outputs(project) == {path: before[path] for path in before if path != checked}
    assert expected in project.run("python", "-m", "workflow.doctor", "--first", status=1)


def test_a_diverging_training_names_the_setting_to_lower(project: Project) -> None:
    project.edit(r"(tuned:[\s\S]*?)optimizer: adam", r"\1optimizer: sgd")
    project.edit(r"(tuned:[\s\S]*?)    lr: 0.002", r"\1    lr: 1000000.0")
    printed = project.run("dvc", "repro", "train_vae@tuned", status=255)
    assert "training diverged; lower vae.tuned.lr" in printed
    assert "Traceback" not in printed
    # in the only step, after which no held-out image is scored
    for setting in ("epochs=1", "lr=1.0e+25"):
        set_params(project.path / "params.yaml", f"classifier.annuli.{setting}")
    printed = project.run("dvc", "repro", "train_classifier@annuli", status=255)
    assert "training diverged; lower classifier.annuli.lr" in printed
    assert "Traceback" not in printed


def respect_file_modes() -> None:
    """Drops the capabilities by which root ignores file modes, in the process about to start."""
    drop_from_bounding_set = 24
    for capability in (1, 2, 3):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
        ctypes.CDLL(None).prctl(drop_from_bounding_set, capability, 0, 0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="drops root's capabilities with Linux's prctl")
@pytest.mark.parametrize(
    "command", ["python -m workflow.doctor --first", "python -m workflow download", "dvc repro"]
)
def test_a_data_folder_without_write_permission_is_named(tree: Project, command: str) -> None:
    data = tree.path / "data"
    data.chmod(0o555)
    done = subprocess.run(
        command.split(),
        cwd=tree.path,
        env=clean_environment() | OFFLINE,
        capture_output=True,
        text=True,
        preexec_fn=respect_file_modes,
    )
    data.chmod(0o755)
    assert done.returncode != 0, done.stdout + done.stderr
    assert "ermission" in done.stderr
    assert "data" in done.stderr
    assert "Traceback" not in done.stderr


def test_stages_report_a_missing_member_and_a_missing_file(tree: Project) -> None:
    assert "0 members given, 1 expected: python -m workflow train_vae VARIANT" in tree.run(
        "python", "-m", "workflow", "train_vae", status=1
    )
    printed = tree.run("python", "-m", "workflow", "train_vae", "tuned", status=1)
    assert "No such file or directory: data/binarized.npz" in printed
    assert "dvc repro" in printed
    assert "Traceback" not in printed


def test_a_file_in_place_of_a_folder_and_a_missing_dataset_file_are_named(tree: Project) -> None:
    raw = tree.path / "data/raw"
    raw.parent.mkdir(exist_ok=True)
    raw.write_text("")
    printed = tree.run("python", "-m", "workflow", "download", status=1)
    assert "File exists: data/raw\n  Move it out of the way" in printed
    raw.unlink()
    tree.run("python", "-m", "workflow", "download")
    (missing,) = raw.glob("*/train-images*")
    missing.unlink()
    printed = tree.run("python", "-m", "workflow", "binarize", status=1)
    assert "No such file or directory: data/raw/uci-digits/train-images-idx3-ubyte" in printed
    (raw / "dataset.json").write_text("{}")
    assert "data/raw/dataset.json is damaged" in tree.run("python", "-m", "workflow", "binarize", status=1)


def test_a_stage_does_not_run_the_code_of_another_folder(project: Project) -> None:
    printed = project.run("dvc", "repro", "-s", "-f", "sample_annuli", status=255, PYTHONSAFEPATH="1")
    assert f"the code of {ROOT} would run in " in printed
    assert "Traceback" not in printed


def test_a_folder_without_params_is_an_error(tree: Project) -> None:
    (tree.path / "params.yaml").unlink()
    printed = tree.run("python", "-m", "workflow.doctor", "--first", status=1)
    assert "params.yaml is not here; run this from the project's folder" in printed
