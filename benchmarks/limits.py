"""How large the ratios of `make bench` may be. Both sides of each run on the same machine, in turns."""

from __future__ import annotations

import sys

# `make bench LIMITS=1`: one exceeded is an error, and only what has a limit runs
ASKED = "--limits" in sys.argv
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


def limit(name: str, ratio: float, of: str = "") -> None:
    """Notes a ratio that is larger than it may be."""
    if ratio > LIMITS[name]:
        _exceeded.append(f"{of or name}: {ratio:.3f}, {LIMITS[name]} at most ({name})")


def end() -> None:
    """Says which limits were exceeded; where they are asked for, exits with 1."""
    if _exceeded:
        print("\nover the limit:\n  " + "\n  ".join(_exceeded))
        sys.exit(ASKED)
