"""`compute.portable` applies however Python is started; otherwise a stage refuses to compute."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Project, clean_environment
from tests.support.repository import ROOT
from workflow.core import packages
from workflow.core.files import md5

# prints torch's instruction set at the end of a process that loaded it
SITE = """
import atexit, sys
def say():
    if "torch" in sys.modules:
        print("torch computes with", sys.modules["torch"].backends.cpu.get_cpu_capability())
atexit.register(say)
"""
IN_PROCESS = "from stages import sample_annuli; sample_annuli.main()"
STAGE = "import sys; sys.argv[1:] = ['sample_annuli']; runpy.run_module('workflow', run_name='__main__')"


def run_python(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python as from a user's shell, without the project's environment variables."""
    (project.path / "site").mkdir(exist_ok=True)
    (project.path / "site/sitecustomize.py").write_text(SITE)
    # OpenMP prints its effective settings
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
        ["-m", "workflow", "sample_annuli"],
        ["-m", "cProfile", "-o", "profile", "-m", "workflow", "sample_annuli"],
        ["-c", f"import runpy; {STAGE}"],
        ["-c", f"from workflow.core import processor; processor.apply(); {IN_PROCESS}"],
    ):
        done = run_python(tree, *arguments)
        assert done.returncode == 0, done.stdout
        assert "torch computes with AVX2\n" in done.stdout
        if "GOMP" in done.stdout:  # a spinning thread takes the core from the thread it waits for
            assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stdout
            assert "GOMP_SPINCOUNT = '4000'" in done.stdout
        sums.add(md5(tree.path / "data/annuli.npz"))
    assert len(sums) == 1


@pytest.mark.parametrize("loaded", ["numpy", "torch"])
def test_settings_that_come_too_late_stop_the_computation(tree: Project, loaded: str) -> None:
    # a second attempt, as in a notebook, finds the variables set, but torch and numpy still without them
    twice = "from workflow.core import processor; processor.apply(); processor.apply()"
    for code in (f"import {loaded}, runpy; {STAGE}", f"import {loaded}, runpy; {twice}; {STAGE}"):
        done = run_python(tree, "-c", code)
        assert done.returncode == 1
        assert re.search(rf"settings of `compute` have no effect \(.*{loaded} loaded first\)", done.stdout)
        assert "Traceback" not in done.stdout
        assert not (tree.path / "data/annuli.npz").exists()


def test_a_stage_called_without_the_settings_refuses_to_compute(tree: Project) -> None:
    done = run_python(tree, "-c", IN_PROCESS)
    assert done.returncode == 1
    assert "the settings of `compute` have no effect (nothing applied them)" in done.stdout
    assert not (tree.path / "data/annuli.npz").exists()


def test_without_portable_the_import_order_does_not_matter(tree: Project) -> None:
    tree.edit("portable: true", "portable: false")
    assert run_python(tree, "-c", f"import torch, runpy; {STAGE}").returncode == 0


def test_the_record_of_packages_names_what_torch_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    monkeypatch.chdir(tmp_path)
    record = packages.FOLDERS["torch"] / "torch.json"
    warnings = packages.record("oneDNN's linear layer")
    assert json.loads(record.read_text())["lacks"] == "oneDNN's linear layer"
    assert "torch" in warnings[-1]
    packages.record()
    assert "lacks" not in json.loads(record.read_text())
