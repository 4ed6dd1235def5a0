"""The whole pipeline in other circumstances gives the same bytes, dvc.lock included."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipeline.params import read
from tests.conftest import Project, commit, smallest

DOWN = "http://127.0.0.1:9"  # of MLflow: what it does is another test's

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("same bytes")]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The smallest project, with the two threads that the real one has; reproduced and committed."""
    project = smallest(tmp_path_factory.mktemp("small") / "project")
    project.edit("threads: 1", "threads: 2")
    project.run("dvc", "repro", MLFLOW_TRACKING_URI=DOWN)
    commit(project)
    return project


@contextmanager
def heavy_process() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", "while True: sum(range(10**6))"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_settings_of_libraries_in_the_environment(small: Project) -> None:
    """Each was seen to change the bits of products, sums or letters, where the pipeline let it."""
    before = (small.path / "dvc.lock").read_bytes()
    small.run(
        "dvc", "repro", "--force", "--no-run-cache", MLFLOW_TRACKING_URI=DOWN,
        OMP_THREAD_LIMIT="1", OMP_MAX_ACTIVE_LEVELS="0", OMP_NUM_THREADS="1", MKL_CBWR="AVX",
        ATEN_CPU_CAPABILITY="default", ONEDNN_MAX_CPU_ISA="SSE41", DNNL_MAX_CPU_ISA="SSE41",
        NPY_ENABLE_CPU_FEATURES="AVX2", OPENBLAS_CORETYPE="Prescott",
        FREETYPE_PROPERTIES="truetype:interpreter-version=35",
    )  # fmt: skip
    assert (small.path / "dvc.lock").read_bytes() == before


def test_another_folder_user_locale_zone_umask_and_hash_seed_and_one_core(small: Project) -> None:
    printed = small.run("python", "-m", "pipeline.audit", "--one-core", MLFLOW_TRACKING_URI=DOWN)
    assert "audit: passed, all " in printed
    assert "DIFFERS" not in printed


def test_a_temporary_experiment_beside_a_heavy_process(small: Project) -> None:
    before = (small.path / "dvc.lock").read_bytes()
    with heavy_process():
        printed = small.run("dvc", "exp", "run", "--temp", "--force", "-n", "again", MLFLOW_TRACKING_URI=DOWN)
    assert printed.count("Running stage '") == len(read(small.path / "dvc.lock")["stages"])
    assert small.run("git", "status", "--porcelain", "dvc.lock", "reports") == ""
    listed = small.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").split()
    (ref,) = [name for name in listed if name.endswith("/again")]
    assert small.run("git", "show", f"{ref}:dvc.lock").encode() == before
    assert small.run("git", "diff", "--stat", "HEAD", ref, "--", "reports") == ""
