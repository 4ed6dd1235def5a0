"""Tags of MLflow runs: the commit that holds a result, and the experiments that share it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable


def at_head() -> dict[str, str]:
    """Tags of a result that no commit holds yet: HEAD, and that it is not all; nothing outside git."""
    try:
        command = ["git", "rev-parse", "HEAD"]
        head = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return {}
    return commit_tags(head, dirty=True)


def commit_tags(commit: str, *, dirty: bool) -> dict[str, str]:
    """The commit of a run: the one that holds its result, or, dirty, the one that it began from."""
    return {"git_commit": commit, "git_dirty": str(dirty).lower(), "mlflow.source.git.commit": commit}


def names(experiments: Iterable[str]) -> str:
    """The tag of the experiments that share a run."""
    return ", ".join(sorted(experiments))


def named(tag: str) -> set[str]:
    """The experiments that such a tag names."""
    return set(filter(None, tag.split(", ")))
