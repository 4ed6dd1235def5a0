"""dvc.lock: what each stage read and wrote when it last ran. Only DVC writes it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from workflow.core.errors import UserError

LOCK = Path("dvc.lock")
CACHE = Path(".dvc/cache/files/md5")
NESTED = re.compile(rb"(?:[\[{][\s,]*|[-?:] +){40}")


def entries(path: Path = LOCK) -> dict[str, dict[str, Any]]:
    """The entries of a dvc.lock by the names of their stages, in its order; a UserError if it is damaged."""
    return dict(content(path)["stages"])


def content(path: Path = LOCK) -> dict[str, Any]:
    """The whole content of a dvc.lock; raises as `entries` does."""
    text = path.read_bytes()
    # the fast parser has no limit for nesting
    if NESTED.search(text):
        raise UserError(f"{path} is damaged: it is nested too deeply")
    try:
        found = YAML(typ="safe").load(text.decode())
    except (YAMLError, ValueError):
        raise UserError(f"{path} is damaged: it is not YAML") from None
    if not isinstance(found, dict) or not isinstance(found.get("stages"), dict):
        raise UserError(f"{path} is damaged: it has no stages")
    for name, entry in found["stages"].items():
        if not _is_complete(entry):
            raise UserError(f"{path} is damaged: its entry {name} is cut off")
    return found


def outputs(stages: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The md5 of each output of these entries, by path; empty where the entry has none."""
    return {out["path"]: out.get("md5", "") for entry in stages.values() for out in entry.get("outs") or []}


def files(outputs: Mapping[str, str], cache: Path = CACHE) -> dict[str, str]:
    """These outputs, and the files in those that are folders, with their md5, as DVC's cache lists them."""
    found = dict(outputs)
    for folder, sum_ in outputs.items():
        if sum_.endswith(".dir"):
            found |= {f"{folder}/{name}": inner for name, inner in _members(cache, sum_)}
    return found


def _members(cache: Path, sum_: str) -> list[tuple[str, str]]:
    try:
        listed = json.loads((cache / sum_[:2] / sum_[2:]).read_bytes())
        return [(str(member["relpath"]), str(member["md5"])) for member in listed]
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return []  # not cached here, or damaged, which `make doctor` reports


def _is_complete(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("cmd"), str):
        return False
    parts = [entry.get("deps") or [], entry.get("outs") or []]
    return all(isinstance(part, list) for part in parts) and all(
        isinstance(item, dict) and isinstance(item.get("path"), str) for part in parts for item in part
    )
