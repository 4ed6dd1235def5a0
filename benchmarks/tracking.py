"""The cost of MLflow for a training stage: with a tracker that starts, in turn with tracking off."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks import limits, stage_runs
from workflow.runs.console import run

STAGES = (
    ("train_classifier images",) if limits.ENFORCED else ("train_classifier images", "train_vae notebook")
)
ROUNDS = 2


def main() -> None:
    """Prints seconds and ratio of each stage: the best of interleaved rounds."""
    with stage_runs.clone() as folder:
        print(f"{'a training stage, whole':<34} {'tracked':>7}  {'not':>7}  tracked / not")
        for stage in STAGES:
            times: dict[bool, list[float]] = {False: [], True: []}
            for _ in range(ROUNDS):
                for off in (False, True):
                    times[off].append(seconds(stage, folder, off))
            tracked, plain = min(times[False]), min(times[True])
            print(f"{stage:<34} {tracked:>5.1f} s  {plain:>5.1f} s  {tracked / plain:.3f}", flush=True)
            limits.check("a stage tracked / not", tracked / plain, stage)
    limits.report()


def seconds(stage: str, folder: Path, off: bool) -> float:
    variables = {"MLFLOW_TRACKING_URI": "none"} if off else {}
    total, _ = stage_runs.seconds(stage, folder, **variables)
    shutil.rmtree(folder / ".dvc/tmp/tracking", ignore_errors=True)  # so that the tracker ends
    return total


if __name__ == "__main__":
    run(main)
