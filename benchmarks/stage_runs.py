"""Runs stages as the pipeline does: `python -m workflow STAGE MEMBER`, in a clone with the data."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workflow.core.errors import UserError
from workflow.core.processor import FIXED, PORTABLE, THREADS

RAW = Path("data/raw/mnist")
# runs a stage after a patch of the code around it
PATCHED = "import runpy; {patch}; runpy.run_module('workflow', run_name='__main__')"


@contextmanager
def clone() -> Iterator[Path]:
    """A temporary clone of HEAD, with the data and models of the working tree.

    Raises:
        UserError: data/raw has no MNIST.
    """
    if not RAW.is_dir():
        raise UserError("data/raw has no MNIST, which the notebook's loop needs; run `make repro` first")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary, "clone")
        subprocess.run(["git", "clone", "-q", ".", str(folder)], check=True)
        for name in ("data", "models"):
            shutil.copytree(name, folder / name, dirs_exist_ok=True)
        (folder / ".dvc" / "tmp").mkdir(parents=True, exist_ok=True)
        yield folder


def user_environment(**variables: str) -> dict[str, str]:
    """This process's environment without the variables that a stage sets itself."""
    own = {*FIXED, *PORTABLE, *THREADS}
    kept = {key: value for key, value in os.environ.items() if key not in own}
    return kept | {"DVC_NO_ANALYTICS": "1"} | variables


def seconds(stage: str, folder: Path, patch: str = "", **variables: str) -> tuple[float, list[float]]:
    """The seconds of a whole stage (`train_vae tuned`), and of each epoch as it prints them.

    Args:
        patch: Python code that runs before the stage.
        variables: environment variables of the stage.
    """
    arguments = ["-c", PATCHED.format(patch=patch)] if patch else ["-m", "workflow"]
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}", "DVC_ROOT": str(folder)}
    started_at = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments, *stage.split()], cwd=folder, env=user_environment(**store | variables),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    total = time.perf_counter() - started_at
    if done.returncode:
        raise UserError(f"{stage} failed:\n{done.stderr}")
    return total, [float(number) for number in re.findall(r"(\d+\.\d+) s  +\d+ images/s", done.stderr)]
