"""What MLflow costs a training stage: the stage while a tracker starts, in turn with tracking off."""

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


def main() -> None:
    """Prints seconds and ratio of each stage, the best of interleaved rounds."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        clone = Path(folder, "clone")
        subprocess.run(["git", "clone", "-q", ".", str(clone)], check=True)
        shutil.copytree("data", clone / "data", dirs_exist_ok=True)
        (clone / ".dvc" / "tmp").mkdir(parents=True, exist_ok=True)
        print(f"{'a training stage, whole':<34} {'tracked':>7}  {'not':>7}  tracked / not")
        for stage in STAGES:
            times: dict[bool, list[float]] = {False: [], True: []}
            for _ in range(ROUNDS):
                for off in (False, True):
                    times[off].append(seconds(stage, clone, off))
            tracked, plain = min(times[False]), min(times[True])
            print(f"{stage:<34} {tracked:>5.1f} s  {plain:>5.1f} s  {tracked / plain:.3f}", flush=True)
            limits.limit("a stage tracked / not", tracked / plain, stage)
    limits.end()


def seconds(stage: str, clone: Path, off: bool) -> float:
    name, member = stage.split()
    store = "none" if off else "sqlite:///mlflow.db"
    environment = os.environ | {"MLFLOW_TRACKING_URI": store, "DVC_ROOT": str(clone)}
    command = [sys.executable, "-m", f"stages.{name}", member]
    started = time.perf_counter()
    subprocess.run(command, cwd=clone, env=environment, check=True, stderr=subprocess.DEVNULL)
    took = time.perf_counter() - started
    shutil.rmtree(clone / ".dvc/tmp/tracking", ignore_errors=True)  # so the tracker leaves
    return took


if __name__ == "__main__":
    main()
