"""dvc.lock: what each stage read and wrote when it last ran. DVC writes it, nobody here does."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.console import UserError

LOCK = Path("dvc.lock")
CACHE = Path(".dvc/cache/files/md5")
NESTED = re.compile(rb"(?:[\[{][\s,]*|[-?:] +){40}")


def entries(path: Path = LOCK) -> dict[str, dict[str, Any]]:
    """The entries of a dvc.lock by the names of their stages, in the order in which they were written.

    Raises:
        UserError: it is damaged, as a kill in the middle of its writing leaves it.
        OSError: it cannot be read.
    """
    return dict(content(path)["stages"])


def content(path: Path = LOCK) -> dict[str, Any]:
    """All of it; raises as `entries` does."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    text = path.read_bytes()
    # the fast parser is fit for what a machine wrote, and has no limit for what is nested
    if NESTED.search(text):
        raise UserError(f"{path} is damaged: it is nested too deeply")
    try:
        found = YAML(typ="safe").load(text.decode())
    except (YAMLError, ValueError):
        raise UserError(f"{path} is damaged: it is no YAML") from None
    if not isinstance(found, dict) or not isinstance(found.get("stages"), dict):
        raise UserError(f"{path} is damaged: it has no stages")
    for name, entry in found["stages"].items():
        if not _whole(entry):
            raise UserError(f"{path} is damaged: its entry {name} is cut off")
    return found


def outputs(stages: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The md5 of each output of these entries, by path; empty where DVC had none to write."""
    return {out["path"]: out.get("md5", "") for entry in stages.values() for out in entry.get("outs") or []}


def files(made: Mapping[str, str], cache: Path = CACHE) -> dict[str, str]:
    """The same, and the md5 of each file in those that are folders, which the cache lists."""
    found = dict(made)
    for folder, sum_ in made.items():
        if sum_.endswith(".dir"):
            found |= {f"{folder}/{name}": inner for name, inner in _members(cache, sum_)}
    return found


def _members(cache: Path, sum_: str) -> list[tuple[str, str]]:
    try:
        listed = json.loads((cache / sum_[:2] / sum_[2:]).read_bytes())
        return [(str(member["relpath"]), str(member["md5"])) for member in listed]
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return []  # it was never cached here, or is damaged, which `make doctor` says


def _whole(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("cmd"), str):
        return False
    parts = [entry.get("deps") or [], entry.get("outs") or []]
    if not all(isinstance(part, list) for part in parts):
        return False
    items = [item for part in parts for item in part]
    return all(isinstance(item, dict) and isinstance(item.get("path"), str) for item in items)
