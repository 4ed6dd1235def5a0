"""Whether what is committed belongs together: `python -m pipeline.stale`, without running a stage.

Compares with dvc.lock: every dep and output that git tracks, every param, every command. A clone that has
computed nothing can be checked, since data and models, which git does not track, are left out.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Set
from pathlib import Path
from typing import Any

from pipeline.console import UserError, run
from pipeline.files import md5
from pipeline.lockfile import LOCK, entries


def main() -> None:
    found, left = look()
    texts = []
    if found:
        texts += [f"{LOCK} is out of date:", *(f"  {line}" for line in found)]
        texts += ["  Run `dvc repro`, and commit dvc.lock and reports/ with the change."]
    if left:
        texts += ["no stage makes these files; a variant that was removed from params.yaml leaves such:"]
        texts += [f"  {path}" for path in left]
        texts += [f"  Remove them: rm -r {shlex.join(left)}"]
    if texts:
        raise UserError("\n".join(texts))
    print("dvc.lock belongs to the code, the params and the reports beside it")


def look() -> tuple[list[str], list[str]]:
    """One line for each thing that differs from dvc.lock; and the files and folders that no stage makes."""
    from dvc.repo import Repo

    tracked = set(_git("ls-files").splitlines())
    found: list[str] = []
    made: set[str] = set()
    with Repo(".") as repo:
        locked = entries()
        for stage in sorted(repo.index.stages, key=lambda item: str(item.addressing)):
            made |= {str(out.def_path) for out in stage.outs}
            entry = locked.pop(stage.addressing, None)
            if entry is None:
                found.append(f"{stage.addressing}: is not in dvc.lock")
                continue
            if stage.cmd != entry["cmd"]:
                found.append(f"{stage.addressing}: its command differs from dvc.lock")
            sums = {item["path"]: item.get("md5") for key in ("deps", "outs") for item in entry.get(key, [])}
            for item in [*stage.deps, *stage.outs]:
                if hasattr(item, "params"):
                    changed = item.workspace_status()
                    found += [f"{stage.addressing}: param {name}" for name in _names(changed)]
                elif (path := str(item.def_path)) in tracked:
                    found += _compare(stage.addressing, path, sums.get(path))
                elif Path(path).is_dir() and _whole(path, tracked) and item.workspace_status():
                    found.append(f"{stage.addressing}: files in {path} differ from dvc.lock")
    found += [f"{name}: stands in dvc.lock, but no longer in dvc.yaml" for name in sorted(locked)]
    return found, left_over(made, tracked)


def left_over(made: Set[str], tracked: Set[str]) -> list[str]:
    """What lies where stages write, and no stage makes: files, or folders that hold nothing else.

    In data/ and models/ these are only files that git does not track, in folders of which a stage makes
    a part: anything else there is the user's own.
    """
    folders = {parent for path in made for parent in Path(path).parents if len(parent.parts) > 1}
    left = {
        path
        for root in ("reports", "models", "data")
        for path in Path(root).rglob("*")
        if path.is_file()
        and path.name != ".gitignore"
        and not path.match(".*.tmp")  # what a process is writing
        and not {str(path), *map(str, path.parents)} & made
        and (root == "reports" or (path.parent in folders and str(path) not in tracked))
    }
    return sorted({str(_whole_folder(path, left)) for path in left})


def _whole_folder(path: Path, left: Set[Path]) -> Path:
    """The outermost folder around a file, below reports/, models/ or data/, that holds only such files."""
    for folder in list(path.parents)[-3::-1]:
        if all(item in left for item in folder.rglob("*") if item.is_file()):
            return folder
    return path


def _whole(folder: str, tracked: set[str]) -> bool:
    """Whether git tracks all that lies in a folder."""
    return all(str(path) in tracked for path in Path(folder).rglob("*") if path.is_file())


def _compare(stage: str, path: str, sum_: str | None) -> list[str]:
    if sum_ is None:
        return [f"{stage}: {path} is not in dvc.lock"]
    if not Path(path).is_file():
        return [f"{stage}: {path} is missing"]
    return [] if md5(path) == sum_ else [f"{stage}: {path} differs from dvc.lock"]


def _names(status: dict[str, Any]) -> list[str]:
    return [f"{name} ({what})" for part in status.values() for name, what in sorted(part.items())]


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        raise UserError("git cannot say which files it has; `make doctor` says why") from None


if __name__ == "__main__":
    run(main)
