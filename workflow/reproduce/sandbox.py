"""The pipeline in a folder of its own: a copy of the working tree or a clone of HEAD, and `dvc repro`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from workflow.core.errors import UserError
from workflow.runs.console import warn
from workflow.runs.lockfile import LOCK
from workflow.runs.project import project

# variables of an outer dvc, of the user's MLflow, and of a git hook that may have started this
UNSET_ENV = ("DVC_", "MLFLOW_", "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX", "PYTHONSAFEPATH")


def repository() -> Path:
    """The root of the git repository around the working directory; raises a UserError if there is none."""
    return Path(git(Path.cwd(), "rev-parse", "--show-toplevel", fault="this is no git repository"))


def copy_tree(root: Path, to: Path) -> None:
    """Copies the files that git tracks or would add, and makes the copy a repository."""
    listed = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, to / name, follow_symlinks=False)
    git(to, "init", "--quiet")


def reproduce(place: Path, root: Path, fault: str) -> None:
    """Removes the results from a copy or clone of `root`, then runs the pipeline by `run_module`."""
    # DVC skips a stage whose outputs match, and does not touch a report that no stage makes
    for path in [place / LOCK, *(place / "reports").rglob("*")]:
        if path.is_file() and path.name != ".gitignore":
            path.unlink()
    raw = Path("data", "raw")
    if (root / raw).is_dir():
        try:  # saves the download; the stage checks md5 sums
            shutil.copytree(root / raw, place / raw)
        except OSError as error:
            warn(f"{root / raw} is not copied completely: {error}")
    run_module(place, root, "workflow.reproduce.repro", "--force", "--no-run-cache", fault=fault)


def run_module(place: Path, root: Path, *command: str, fault: str) -> None:
    """Runs `python -m COMMAND` in a copy of `root`; raises a UserError with `fault` if it fails."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=place, env=environment(place, root))
    if done.returncode:
        raise UserError(f"{fault} (see above; exit code {done.returncode})")


def environment(place: Path, root: Path) -> dict[str, str]:
    """The environment for the pipeline in `place`, a copy of `root`: this Python, and no MLflow."""
    env = _clean_environment()
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
    env["MLFLOW_TRACKING_URI"] = "none"
    env["DVC_NO_ANALYTICS"] = "1"  # its process outlives DVC, and would write into a removed folder
    env["DVC_SITE_CACHE_DIR"] = str(place / ".dvc" / "tmp")  # not a folder for each copy in /var/tmp
    for name in project(root).variables:
        folder = env.get(name, "").strip()
        if folder and not folder.startswith(("http://", "https://")):  # a path may be relative to `root`
            env[name] = str(Path(root, Path(folder.removeprefix("file://")).expanduser()))
    return env


def git(folder: Path, *arguments: str, fault: str = "git failed") -> str:
    """The output of git in a folder; raises a UserError with `fault` and git's own message if it fails."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=_clean_environment())
    except FileNotFoundError:
        raise UserError("git is not installed") from None
    if done.returncode:
        raise UserError(f"{fault}\n  {' '.join(done.stderr.split())}")
    return done.stdout.strip()


def _clean_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(UNSET_ENV)}
