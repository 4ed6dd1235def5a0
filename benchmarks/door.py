"""Stages as the pipeline starts them: `python -m stages.NAME MEMBER`, in a clone that has the data."""

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

from pipeline.console import UserError
from pipeline.processor import FIXED, PORTABLE, THREADS

RAW = Path("data/raw/mnist")
# starts a stage after a change to what it does around its work
CHANGED = (
    "import runpy, sys; {change}; sys.argv = sys.argv[1:]; runpy.run_module(sys.argv[0], run_name='__main__')"
)


@contextmanager
def clone() -> Iterator[Path]:
    """A throwaway clone of HEAD, with the data and models that are here.

    Raises:
        UserError: MNIST is not here.
    """
    if not RAW.is_dir():
        raise UserError("the peer is the notebook's loop on MNIST, and data/raw has none: `make repro` first")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        place = Path(folder, "clone")
        subprocess.run(["git", "clone", "-q", ".", str(place)], check=True)
        for name in ("data", "models"):
            shutil.copytree(name, place / name, dirs_exist_ok=True)
        (place / ".dvc" / "tmp").mkdir(parents=True, exist_ok=True)
        yield place


def user_environment(**more: str) -> dict[str, str]:
    """This process's environment without the settings that a stage makes for itself."""
    ours = {*FIXED, *PORTABLE, *THREADS}
    kept = {key: value for key, value in os.environ.items() if key not in ours}
    return kept | {"DVC_NO_ANALYTICS": "1"} | more


def seconds(stage: str, place: Path, change: str = "", **more: str) -> tuple[float, list[float]]:
    """The seconds of a whole stage (`train_vae tuned`), and those of each epoch that it says.

    Args:
        change: Python that runs before it.
        more: variables of its environment.
    """
    name, *member = stage.split()
    how = ["-c", CHANGED.format(change=change), f"stages.{name}"] if change else ["-m", f"stages.{name}"]
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{place / 'mlflow.db'}", "DVC_ROOT": str(place)}
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *how, *member], cwd=place, env=user_environment(**store | more),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    whole = time.perf_counter() - began
    if done.returncode:
        raise UserError(f"{stage} failed:\n{done.stderr}")
    return whole, [float(number) for number in re.findall(r"(\d+\.\d+) s  +\d+ images/s", done.stderr)]
