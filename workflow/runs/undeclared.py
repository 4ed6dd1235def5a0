"""Files in the folders of outputs that no stage makes, as a member removed from params.yaml leaves them."""

import subprocess
from collections.abc import Set
from pathlib import Path

from workflow.core.errors import UserError
from workflow.runs import dvc_repo


def undeclared_files() -> list[str]:
    """The files or folders in reports/, models/ and data/ that no stage makes, sorted; see `left_over`.

    Raises:
        UserError: git cannot list its files.
        DvcException: DVC cannot read the project.
    """
    with dvc_repo.repository() as repo:
        made = {str(out.def_path) for stage in repo.index.stages for out in stage.outs}
    return left_over(made, tracked_files())


def tracked_files() -> set[str]:
    """The paths that git tracks here; raises a UserError if git cannot list them."""
    try:
        listed = subprocess.check_output(["git", "ls-files"], text=True, stderr=subprocess.PIPE)
    except (OSError, subprocess.CalledProcessError):
        raise UserError("git cannot list its files; `make doctor` says why") from None
    return set(listed.splitlines())


def left_over(made: Set[str], tracked: Set[str]) -> list[str]:
    """Files in reports/, models/ and data/ that are not in `made`, or folders with such files alone.

    In data/ and models/ only untracked files count, and only in folders where a stage writes: all others are
    the user's own.
    """
    folders = {parent for path in made for parent in Path(path).parents if len(parent.parts) > 1}
    left = {
        path
        for root in ("reports", "models", "data")
        for path in Path(root).rglob("*")
        if path.is_file()
        and path.name != ".gitignore"
        and not path.match(".*.tmp")  # a process is writing it
        and not {str(path), *map(str, path.parents)} & made
        and (root == "reports" or (path.parent in folders and str(path) not in tracked))
    }
    return sorted({str(_whole_folder(path, left)) for path in left})


def _whole_folder(path: Path, left: Set[Path]) -> Path:
    """The outermost folder around a file, below reports/, models/ or data/, with files of `left` alone."""
    for folder in list(path.parents)[-3::-1]:
        if {file for file in folder.rglob("*") if file.is_file()} <= left:
            return folder
    return path
