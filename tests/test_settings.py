"""`compute.portable` holds however Python was started, or nothing is computed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import packages
from pipeline.files import md5
from tests.conftest import Project, clean_environment

# what torch does, said at the end of a process in which it has loaded
SITE = """
import atexit, sys
def say():
    if "torch" in sys.modules:
        print("torch computes with", sys.modules["torch"].backends.cpu.get_cpu_capability())
atexit.register(say)
"""
STAGE = "runpy.run_module('stages.sample_annuli', run_name='__main__')"


def start(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python as a user does, in whose shell no setting of ours is."""
    (project.path / "site").mkdir(exist_ok=True)
    (project.path / "site/sitecustomize.py").write_text(SITE)
    # OpenMP prints its settings as it has understood them
    environment = clean_environment() | {
        "PYTHONPATH": str(project.path / "site"),
        "OMP_DISPLAY_ENV": "verbose",
    }
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=project.path, env=environment, text=True, timeout=300,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_a_profiler_a_script_and_a_notebook_compute_as_the_pipeline_does(tree: Project) -> None:
    sums = set()
    for arguments in (
        ["-m", "stages.sample_annuli"],
        ["-m", "cProfile", "-o", "profile", "-m", "stages.sample_annuli"],
        ["-c", f"import runpy; {STAGE}"],
        ["-c", "from stages import sample_annuli; sample_annuli.main()"],
    ):
        done = start(tree, *arguments)
        assert done.returncode == 0, done.stdout
        assert "torch computes with AVX2\n" in done.stdout
        if "GOMP" in done.stdout:  # a thread that spins takes the core from the one it waits for
            assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stdout
            assert "GOMP_SPINCOUNT = '4000'" in done.stdout
        sums.add(md5(tree.path / "data/annuli.npz"))
    assert len(sums) == 1


@pytest.mark.parametrize("loaded", ["numpy", "torch"])
def test_where_the_settings_come_too_late_nothing_is_computed(tree: Project, loaded: str) -> None:
    done = start(tree, "-c", f"import {loaded}, runpy; {STAGE}")
    assert done.returncode == 1
    assert "compute.portable has no effect" in done.stdout
    assert loaded in done.stdout
    assert "Traceback" not in done.stdout
    assert not (tree.path / "data/annuli.npz").exists()


def test_what_each_processor_does_its_own_way_may_start_in_any_way(tree: Project) -> None:
    tree.edit("portable: true", "portable: false")
    assert start(tree, "-c", f"import torch, runpy; {STAGE}").returncode == 0


def test_the_record_of_packages_names_what_torch_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packages.record("oneDNN's linear layer", tmp_path)
    assert json.loads((tmp_path / "torch.json").read_text())["lacks"] == "oneDNN's linear layer"
    assert "torch" in capsys.readouterr().err
    packages.record(folder=tmp_path)
    assert "lacks" not in json.loads((tmp_path / "torch.json").read_text())
