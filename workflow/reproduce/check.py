"""`make check`: whether dvc.lock is up to date with code, params and reports; runs no stage.

Compares with dvc.lock: every command, every param, every dep and output that git tracks. Data and models,
which git does not track, are left out, so a clone that has computed nothing can be checked.
"""

import shlex
from pathlib import Path

from workflow.core.errors import UserError
from workflow.core.files import md5
from workflow.runs import dvc_repo
from workflow.runs.console import run
from workflow.runs.lockfile import LOCK, entries
from workflow.runs.worktree import tracked_files, undeclared_files

# DVC's words for how a file or folder differs from dvc.lock
STATUS = {"modified": "differs from dvc.lock", "deleted": "is missing", "new": "is not in dvc.lock"}


def main() -> None:
    with dvc_repo.explained():
        found, left = differences(), undeclared_files()
    texts = []
    if found:
        texts += [f"{LOCK} is out of date:", *(f"  {line}" for line in found)]
        texts += ["  Run `dvc repro`, and commit dvc.lock and reports/ with the change."]
    if left:
        texts += ["no stage makes these files (left by a member removed from params.yaml?):"]
        texts += [f"  {path}" for path in left]
        texts += [f"  Remove them: rm -r {shlex.join(left)}"]
    if texts:
        raise UserError("\n".join(texts))
    print("dvc.lock is up to date")


def differences() -> list[str]:
    """One line for each thing that differs from dvc.lock."""
    tracked = tracked_files()
    found: list[str] = []
    with dvc_repo.repository() as repo:
        locked = entries()
        for stage in sorted(repo.index.stages, key=lambda item: str(item.addressing)):
            name = stage.addressing
            entry = locked.pop(name, None)
            if entry is None:
                found.append(f"{name}: is not in dvc.lock")
                continue
            if stage.cmd != entry["cmd"]:
                found.append(f"{name}: its command differs from dvc.lock")
            for item in [*stage.deps, *stage.outs]:
                path = str(item.def_path)
                if hasattr(item, "params"):
                    changes = [change for file in item.workspace_status().values() for change in file.items()]
                    found += [f"{name}: param {param} ({what})" for param, what in sorted(changes)]
                elif path in tracked and Path(path).is_file() and item.hash_info:
                    # not by DVC, which remembers the md5 of a file by its time and size
                    if md5(path) != dvc_repo.locked_md5(item):
                        found.append(f"{name}: {path} differs from dvc.lock")
                elif path in tracked or any(file.startswith(f"{path}/") for file in tracked):
                    found += [f"{name}: {path} {STATUS[what]}" for what in item.workspace_status().values()]
    found += [f"{name}: is in dvc.lock, but no longer in dvc.yaml" for name in sorted(locked)]
    return found


if __name__ == "__main__":
    run(main)
