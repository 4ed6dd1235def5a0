"""What MLflow costs a training stage: the stage as it is, in turn with the same without its tracker."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import limits

STAGES = ("train_classifier images",) if limits.ASKED else ("train_classifier images", "train_vae notebook")
ROUNDS = 2
RUN = """
import runpy, sys
stage, *sys.argv = sys.argv[1:]
if {without}:
    from contextlib import contextmanager
    from types import SimpleNamespace
    import pipeline.tracking

    @contextmanager
    def live(of, about, rows=()):
        yield SimpleNamespace(log=lambda row: None)

    pipeline.tracking.live = live
sys.argv = [stage, *sys.argv]
runpy.run_module(stage, run_name="__main__")
"""


def main() -> None:
    """Prints seconds and ratio of each stage, the best of interleaved rounds."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "clone")
        subprocess.run(["git", "clone", "-q", ".", str(clone)], check=True)
        shutil.copytree("data", clone / "data", dirs_exist_ok=True)
        (clone / ".dvc" / "tmp").mkdir(parents=True, exist_ok=True)
        print(f"{'a training stage, whole':<34} {'tracked':>7}  {'not':>7}  tracked / not")
        for stage in STAGES:
            times: dict[bool, list[float]] = {False: [], True: []}
            for _ in range(ROUNDS):
                for without in (False, True):
                    times[without].append(seconds(stage, clone, without))
            tracked, plain = min(times[False]), min(times[True])
            print(f"{stage:<34} {tracked:>5.1f} s  {plain:>5.1f} s  {tracked / plain:.3f}", flush=True)
            limits.limit("a stage tracked / not", tracked / plain, stage)
    limits.end()


def seconds(stage: str, clone: Path, without: bool) -> float:
    name, member = stage.split()
    command = [sys.executable, "-c", RUN.format(without=without), f"stages.{name}", member]
    environment = os.environ | {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db", "DVC_ROOT": str(clone)}
    started = time.perf_counter()
    subprocess.run(command, cwd=clone, env=environment, check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
