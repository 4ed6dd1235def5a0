"""The artifact paths of an MLflow store that was moved or copied with its folder."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from urllib.parse import unquote, urlparse

from pipeline.store import Store, artifacts

# MLflow's tables that hold absolute paths below an experiment's folder
PATHS = (
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)


def moved_here(store: Store) -> list[str]:
    """Mends the artifact paths of a store in this folder; returns the experiments whose paths were old.

    MLflow writes them absolute, and has no call that changes them.
    """
    if store.database is None or not store.own:
        return []
    mended = []
    with store.lock, contextlib.closing(sqlite3.connect(store.database)) as base, base:
        for number, name, old in base.execute(
            "SELECT experiment_id, name, artifact_location FROM experiments"
        ).fetchall():
            new = artifacts(store.root, name)
            here, there = _folder(new).is_dir(), _folder(old).is_dir()
            # another clone that shares this store keeps its artifacts with itself
            if old == new or not old.endswith(f"/mlartifacts/{name}") or (there and not here):
                continue
            base.execute(
                "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (new, number)
            )
            for table, column in PATHS:
                base.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE substr({column}, 1, ?) = ?",
                    (new, len(old) + 1, len(old) + 1, f"{old}/"),
                )
            mended.append(name)
    return mended


def _folder(uri: str) -> Path:
    return Path(unquote(urlparse(uri).path))
