"""Upper limits of the ratios of `make bench`. Both sides of a ratio run in turn on the same machine."""

from __future__ import annotations

import sys

# `make bench LIMITS=1`: an exceeded limit is an error, and only benchmarks with a limit run
ENFORCED = "--limits" in sys.argv
LIMITS = {
    "an epoch / the notebook's own": 1.0,
    "`dvc repro` with nothing to do / a two-stage pipeline's": 1.5,
    "the whole pipeline / 20 of the notebook's epochs": 2.0,
    "a stage tracked / not": 1.05,
    "an epoch with a checkpoint / without": 1.03,
    "an epoch / the same with threads that spin": 1.05,
    "an epoch beside another pipeline / alone": 2.5,
}
_exceeded: list[str] = []


def check(name: str, ratio: float, label: str = "") -> None:
    """Records a ratio that exceeds its limit."""
    if ratio > LIMITS[name]:
        _exceeded.append(f"{label or name}: {ratio:.3f}, {LIMITS[name]} at most ({name})")


def report() -> None:
    """Prints the exceeded limits; exits with 1 if limits are enforced."""
    if _exceeded:
        print("\nover the limit:\n  " + "\n  ".join(_exceeded))
        sys.exit(ENFORCED)
