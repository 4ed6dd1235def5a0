"""What may be wrong with this machine and this folder: packages, disk, permissions, params.yaml."""

import getpass
import os
import resource
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

from packaging.utils import canonicalize_name

from workflow.core import packages
from workflow.core.errors import UserError
from workflow.core.params import load
from workflow.doctor.dvc_files import DAMAGED, Finding
from workflow.runs import dvc_repo
from workflow.runs.console import NAMELESS
from workflow.runs.project import imported, project
from workflow.runs.worktree import undeclared_files

NEEDED = 2 * 1024**3  # bytes; a run with its cache and MLflow's store takes half of that
FOLDERS = ("data", "models", "reports", ".dvc", ".")


def versions() -> Iterator[Finding]:
    pins = packages.pinned() if packages.CONSTRAINTS.is_file() else {}
    for package in sorted({name for members in packages.OUTPUT_PACKAGES.values() for name in members}):
        pin, version = pins.get(canonicalize_name(package)), packages.installed(package)
        if pin and version != pin:
            yield Finding(
                f"{package}: {version} is installed, {pin} is pinned",
                "`pip install -c constraints.txt -e .`; other versions may give other numbers",
            )
    if changed := packages.changed():
        yield Finding(
            "packages have changed since the pipeline ran: " + "; ".join(changed),
            "`make repro` records what is installed, and reruns what depends on it",
        )


def disk_space() -> Iterator[Finding]:
    free = shutil.disk_usage(".").free
    if free < NEEDED:
        yield Finding(
            f"{free / 1024**3:.2f} GiB are free on this disk; a run may need {NEEDED / 1024**3:.0f}",
            "free some space; `dvc gc --workspace` removes what no present output needs",
        )
    # where it stops DVC's own databases, DVC only prints "disk I/O error"
    limit, _hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit != resource.RLIM_INFINITY and limit < NEEDED:
        yield Finding(
            f"no file may exceed {limit / 1024**2:.1f} MiB here (ulimit -f); a run may need {NEEDED >> 20}",
            "`ulimit -f unlimited`, or ask who set it",
        )


def permissions() -> Iterator[Finding]:
    for folder in map(Path, FOLDERS):
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            yield Finding(
                f"no permission to write in {folder.resolve()}",
                f"give yourself the permission (`ls -ld {folder}` shows who has it), or clone the project "
                "to a place of your own",
            )


def user() -> Iterator[Finding]:
    """What a user lacks in a container whose user id is not its own: a name, and a home to write in."""
    if getpass.getuser() == NAMELESS:
        yield Finding(
            f'user {os.getuid()} has no name here: `make` works, and `dvc` ends in "uid not found"',
            "`export USER=me`",
        )
    if not os.access(home := Path.home(), os.W_OK):
        yield Finding(
            f"no permission to write in HOME ({home}): git cannot be configured, and figures take longer",
            "`export HOME=$(mktemp -d)`",
        )


def params() -> Iterator[Finding]:
    try:
        load(imported(project().schema))
    except UserError as error:
        yield Finding(str(error), "`git diff params.yaml` shows what changed")


def checkpoints() -> Iterator[Finding]:
    found = {path.parent for path in Path(".work").glob("*/*.safetensors")} - {DAMAGED}
    if found:
        yield Finding(
            f"{len(found)} interrupted training(s) have checkpoints in .work",
            "nothing to do: `dvc repro` continues from them (or remove .work, to forget them)",
            repaired=True,
        )


def undeclared() -> Iterator[Finding]:
    try:
        with dvc_repo.explained():
            left = undeclared_files()
    except UserError:  # of git, params.yaml or dvc.lock, which have checks of their own
        return
    if left:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        yield Finding(
            f"no stage makes {left[0]}{more}; left by a member removed from params.yaml?",
            f"`rm -r {shlex.join(left)}`",
        )
