"""What may be wrong with git here: none, no repository, somebody else's, one that lacks this project."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from pipeline.mending import Finding

MAKE_ONE = "git init && git add -A && git commit -m 'as downloaded'"
WITHOUT = "dvc config --local core.no_scm true"
IDENTITY = "git config --global user.name '…' && git config --global user.email '…'"


def git() -> Iterator[Finding]:
    """Everything of it, for `make doctor`."""
    if not without_git():
        yield from missing_repository()
    if shutil.which("git") is None:
        yield _open(
            "git is not installed: the pipeline runs, but nothing can be committed, checked or verified",
            "install git, by your system's packages",
        )
        return
    if repository():
        yield from _usable()
    lock = Path(".git/index.lock")
    if lock.exists():
        yield _open(f"{lock} is there: a git is at work, or was killed", f"if none is: `rm {lock}`")


def missing_repository() -> Iterator[Finding]:
    """What stops DVC: a folder that no git repository holds, as a downloaded zip leaves it."""
    if repository() is None and not without_git():
        yield _open(
            f"{Path.cwd()} is no git repository, as a downloaded zip is none, and DVC needs one",
            f"`{MAKE_ONE}`\n        or, if you want neither experiments nor commits: `{WITHOUT}`",
        )


def repository() -> Path | None:
    """The nearest folder from here upwards that is a git repository; git itself may not be there to ask."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), None)


def without_git() -> bool:
    """Whether DVC was told to do without git."""
    from dvc.config import Config, ConfigError

    try:
        return bool(Config(str(Path.cwd() / ".dvc"))["core"].get("no_scm"))
    except ConfigError:
        return False  # DVC says it


def _usable() -> Iterator[Finding]:
    asked = _git("rev-parse", "--show-toplevel")
    if "dubious ownership" in asked.stderr:
        root = repository() or Path.cwd()
        yield _open(
            f"git refuses {root}: it belongs to user {root.stat().st_uid}, and you are {os.geteuid()}; "
            "so `make track` and DVC's experiments fail",
            f"if you trust it: `git config --global --add safe.directory {root}`; or clone it yourself",
        )
        return
    if asked.returncode:
        yield _open(f"git cannot read this repository: {_last_line(asked.stderr)}", "clone it again")
        return
    top = asked.stdout.strip()
    if Path(top) != Path.cwd().resolve() and _git("ls-files", "--error-unmatch", "dvc.yaml").returncode:
        yield _open(
            f"this folder lies in the git repository {top}, which does not have its files: "
            "commits and experiments would be that repository's",
            f"make one of its own: `{MAKE_ONE}`",
        )
    elif _git("rev-parse", "--verify", "HEAD").returncode:
        yield _open(
            f"the git repository {top} has no commit yet: experiments need one",
            "`git add -A && git commit -m start`",
        )
    if _git("var", "GIT_COMMITTER_IDENT").returncode:
        yield _open("git does not know who you are, and will not commit", f"`{IDENTITY}`")


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", *arguments], capture_output=True, text=True, env=os.environ | {"LC_ALL": "C"}
    )


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it does not say why"])[-1]


def _open(what: str, remedy: str) -> Finding:
    return Finding(what, remedy, False)
