"""What MLflow costs a training stage: the stage while a tracker starts, in turn with tracking off."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks import door, limits
from pipeline.console import run

STAGES = ("train_classifier images",) if limits.ASKED else ("train_classifier images", "train_vae notebook")
ROUNDS = 2


def main() -> None:
    """Prints seconds and ratio of each stage, the best of interleaved rounds."""
    with door.clone() as place:
        print(f"{'a training stage, whole':<34} {'tracked':>7}  {'not':>7}  tracked / not")
        for stage in STAGES:
            times: dict[bool, list[float]] = {False: [], True: []}
            for _ in range(ROUNDS):
                for off in (False, True):
                    times[off].append(seconds(stage, place, off))
            tracked, plain = min(times[False]), min(times[True])
            print(f"{stage:<34} {tracked:>5.1f} s  {plain:>5.1f} s  {tracked / plain:.3f}", flush=True)
            limits.limit("a stage tracked / not", tracked / plain, stage)
    limits.end()


def seconds(stage: str, place: Path, off: bool) -> float:
    more = {"MLFLOW_TRACKING_URI": "none"} if off else {}
    took, _ = door.seconds(stage, place, **more)
    shutil.rmtree(place / ".dvc/tmp/tracking", ignore_errors=True)  # so the tracker leaves
    return took


if __name__ == "__main__":
    run(main)
