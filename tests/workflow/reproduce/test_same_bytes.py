"""The whole pipeline under other conditions gives the same bytes, dvc.lock included.

`make audit`, every night, changes folder, user, locale, time zone, umask, hash seed and number of cores.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import NO_TRACKING, Project
from workflow.core.files import read_yaml

pytestmark = pytest.mark.slow


@contextmanager
def heavy_process() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", "while True: sum(range(10**6))"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_a_temporary_experiment_under_load_with_other_library_settings(
    smallest_reproduced: Project, tmp_path: Path
) -> None:
    """Each of these settings can change products, sums or drawn text, unless the pipeline overrides it."""
    project = smallest_reproduced.copy(tmp_path / "project")
    with heavy_process():
        printed = project.run(
            "dvc", "exp", "run", "--temp", "--force", "-n", "again", MLFLOW_TRACKING_URI=NO_TRACKING,
            OMP_THREAD_LIMIT="1", OMP_MAX_ACTIVE_LEVELS="0", OMP_NUM_THREADS="1", MKL_CBWR="AVX",
            ATEN_CPU_CAPABILITY="default", ONEDNN_MAX_CPU_ISA="SSE41", DNNL_MAX_CPU_ISA="SSE41",
            NPY_ENABLE_CPU_FEATURES="AVX2", OPENBLAS_CORETYPE="Prescott",
            FREETYPE_PROPERTIES="truetype:interpreter-version=35",
        )  # fmt: skip
    assert printed.count("Running stage '") == len(read_yaml(smallest_reproduced.path / "dvc.lock")["stages"])
    listed = project.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").split()
    (ref,) = [name for name in listed if name.endswith("/again")]
    made = project.run("git", "show", f"{ref}:dvc.lock").encode()
    assert (
        made
        == (smallest_reproduced.path / "dvc.lock").read_bytes()
        == (project.path / "dvc.lock").read_bytes()
    )
    assert project.run("git", "diff", "--stat", "HEAD", ref, "--", "reports") == ""
    assert project.run("git", "status", "--porcelain", "dvc.lock", "reports") == ""
