"""Bad input, by the real `dvc repro`: one clear message, no traceback, earlier outputs as they were."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import OFFLINE, Project, clean_environment


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
    # DVC removed the verdict before the stage that makes it ran; all else is as it was
    verdict = project.path / "data/params_checked.json"
    assert not verdict.exists()
    assert outputs(project) == {path: before[path] for path in before if path != verdict}
    assert expected in project.run("python", "-m", "stages.check", status=1)


def test_a_training_that_diverges_says_which_setting_to_lower(project: Project) -> None:
    project.edit(r"(tuned:[\s\S]*?)optimizer: adam", r"\1optimizer: sgd")
    project.edit(r"(tuned:[\s\S]*?)    lr: 0.002", r"\1    lr: 1000000.0")
    printed = project.run("dvc", "repro", "train_vae@tuned", status=255)
    assert "training diverged; lower vae.tuned.lr" in printed
    assert "Traceback" not in printed


def bound_by_modes() -> None:
    """Makes modes bind the process about to start, root's too: it loses the right to pass over them."""
    drop_from_bounding_set = 24
    for capability in (1, 2, 3):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
        ctypes.CDLL(None).prctl(drop_from_bounding_set, capability, 0, 0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="takes root's rights away by Linux's prctl")
@pytest.mark.parametrize("command", ["python -m stages.check", "python -m stages.download", "dvc repro"])
def test_data_that_may_not_be_written_is_named(tree: Project, command: str) -> None:
    data = tree.path / "data"
    data.chmod(0o555)
    done = subprocess.run(
        command.split(),
        cwd=tree.path,
        env=clean_environment() | OFFLINE,
        capture_output=True,
        text=True,
        preexec_fn=bound_by_modes,
    )
    data.chmod(0o755)
    assert done.returncode != 0, done.stdout + done.stderr
    assert "ermission" in done.stderr
    assert "data" in done.stderr
    assert "Traceback" not in done.stderr


def test_stages_ask_for_their_member_and_name_what_is_missing(tree: Project) -> None:
    assert "give one argument: the variant of vae" in tree.run("python", "-m", "stages.train_vae", status=1)
    printed = tree.run("python", "-m", "stages.train_vae", "tuned", status=1)
    assert "No such file or directory: data/binarized.npz" in printed
    assert "dvc repro" in printed
    assert "Traceback" not in printed


def test_a_file_where_a_folder_should_be_and_a_missing_file_of_the_dataset_are_named(tree: Project) -> None:
    raw = tree.path / "data/raw"
    raw.parent.mkdir(exist_ok=True)
    raw.write_text("")
    printed = tree.run("python", "-m", "stages.download", status=1)
    assert "File exists: data/raw\n  Move it out of the way" in printed
    raw.unlink()
    tree.run("python", "-m", "stages.download")
    (missing,) = raw.glob("*/train-images*")
    missing.unlink()
    printed = tree.run("python", "-m", "stages.binarize", status=1)
    assert "No such file or directory: data/raw/uci-digits/train-images-idx3-ubyte" in printed
    (raw / "dataset.json").write_text("{}")
    assert "data/raw/dataset.json is damaged" in tree.run("python", "-m", "stages.binarize", status=1)


def test_a_stage_does_not_run_the_code_of_another_folder(project: Project) -> None:
    printed = project.run("dvc", "repro", "-s", "-f", "sample_annuli", status=255, PYTHONSAFEPATH="1")
    assert "the code that would run is that of" in printed
    assert "Traceback" not in printed


def test_a_place_without_params_is_said_to_be_the_wrong_one(tree: Project) -> None:
    (tree.path / "params.yaml").unlink()
    printed = tree.run("python", "-m", "stages.check", status=1)
    assert "params.yaml is not here; run this from the project's folder" in printed
