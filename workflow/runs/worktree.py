"""The files here as git and DVC know them: tracked or not, made by a stage or not, in conflict or not."""

import re
import shlex
import subprocess
from collections.abc import Sequence, Set
from pathlib import Path

from workflow.core.errors import UserError
from workflow.runs import dvc_repo
from workflow.runs.identity import main_repository

SHOWN = 3  # files in a sentence


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
    if (listed := _listed("ls-files")) is None:
        raise UserError("git cannot list its files; `make doctor` says why")
    return set(listed)


def untracked_inputs() -> list[str]:
    """The files that git neither tracks nor ignores, among what stages read and beside their code, sorted.

    DVC runs a queued or temporary experiment in a copy, which lacks them (dvc #9885).

    Raises:
        DvcException: DVC cannot read the project.
    """
    with dvc_repo.repository() as repo:
        deps = {str(dep.def_path) for stage in repo.index.stages for dep in stage.deps}
    code = (dep for dep in deps if dep.endswith(".py") or any(Path(dep).glob("*.py")))
    rooms = {Path(dep).parts[0] for dep in code}
    return [file for file in _untracked() if {file, *map(str, Path(file).parents)} & (deps | rooms)]


def require_copyable() -> None:
    """Raises a UserError where DVC cannot copy the project for an experiment, for its path's sake."""
    path = str(Path.cwd())
    if not path.isascii() or re.search(r"[?#{}]|%[0-9a-fA-F]{2}", path):
        raise UserError(
            f"DVC cannot run queued or temporary experiments in {path}\n"
            "  For these, move the project to a path of ASCII letters without ? # { } %."
        )


def explain(error: Exception) -> UserError | None:
    """The error as git explains it: its file is in conflict, or not in this copy of the project; or None."""
    words = str(error)
    if [file for file in conflicted_files() if file in words or file == ".dvc/config"]:  # DVC names it not
        return conflict()
    root = main_repository()
    if root != Path.cwd() and isinstance(error, (ImportError, FileNotFoundError, UserError)):
        untracked = _untracked(root)
        module = "/".join(part for part in _module(words) if part).replace(".", "/")
        for file in untracked:
            if file in words or (module and file.startswith((f"{module}.py", f"{module}/"))):
                beside = [other for other in untracked if Path(other).parent == Path(file).parent]
                return UserError(f"{words}\n  {lacks(*beside)}")
    return None


def _module(words: str) -> tuple[str, str]:
    """The package and the module that an error's words say to be missing; a package may be ''."""
    if found := re.search(r"no stage (\w+)", words):
        return "stages", found[1]
    found = re.search(r"(?:No module named|cannot import name) '([\w.]+)'(?: from '([\w.]+)')?", words)
    return (found[2], found[1]) if found else ("", "")


def lacks(*files: str) -> str:
    """Why a copy of the project in which DVC runs an experiment does not have these files; what to do."""
    folders = sorted({str(Path(*Path(file).parts[:2])) for file in files})
    return (
        f"git does not track {_first(files)}, and DVC's queued and temporary experiments run without: "
        f"`git add {shlex.join(folders if len(files) > SHOWN else files)}`"
    )


def conflict() -> UserError | None:
    """The error for files in which git left the markers of a merge; None where there are none."""
    if not (files := conflicted_files()):
        return None
    tops = shlex.join(sorted({Path(file).parts[0] for file in files}))
    return UserError(
        f"merge conflict in {_first(files)}\n"
        f"  `git checkout --ours {tops}` (or --theirs, or edit it), then `dvc repro`"
    )


def conflicted_files() -> list[str]:
    """The files of settings and results in which git left the markers of a merge, sorted."""
    patterns = ("*.yaml", "*.lock", "*.toml", "*.json", "*.csv", ".dvc/config", ":!data", ":!tests")
    marker = r"^(<{7}|>{7}) [^,]*(\(.*)?$"  # no row of a table; after the hash of a commit is its (subject)
    return sorted(set(_listed("grep", "-lE", marker, "--", *patterns) or ()))


def _first(files: Sequence[str]) -> str:
    more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
    return ", ".join(files[:SHOWN]) + more


def _untracked(root: Path = Path()) -> list[str]:
    return _listed("ls-files", "--others", "--exclude-standard", root=root) or []


def _listed(command: str, *arguments: str, root: Path = Path()) -> list[str] | None:
    """The paths that a git command lists; None if it fails."""
    try:
        listed = subprocess.check_output(
            ["git", command, "-z", *arguments],
            cwd=root, text=True, errors="surrogateescape", stderr=subprocess.PIPE,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    return listed.split("\0")[:-1]


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
