"""What may be wrong with git: not installed, no repository, another user's, one without this project."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from workflow.core.files import write_bytes
from workflow.doctor.dvc_files import Finding
from workflow.runs import dvc_repo
from workflow.runs.worktree import conflict

CRLF = re.compile(r"i/lf +w/(crlf|mixed) +attr/.*\beol=lf\b")  # of `git ls-files --eol`: CRLF only here
MAKE_ONE = "git init && git add -A && git commit -m 'as downloaded'"


def git() -> Iterator[Finding]:
    """All checks of git, for `make doctor`."""
    yield from missing_repository()
    if shutil.which("git") is None:
        yield Finding(
            "git is not installed: the pipeline runs, but nothing can be committed, checked or verified",
            "install git, by your system's packages",
        )
        return
    if repository():
        yield from conflicts()
        yield from _repository_faults()
        yield from line_ends()
    lock = Path(".git/index.lock")
    if lock.exists():
        yield Finding(f"{lock} exists: a git is running, or was killed", f"if none is running: `rm {lock}`")


def missing_repository() -> Iterator[Finding]:
    """A folder outside any git repository, as an unpacked zip leaves it: DVC does not work there."""
    if repository() is None and not dvc_repo.without_git():
        yield Finding(
            f"{Path.cwd()} is no git repository (a downloaded zip is none), and DVC needs one",
            f"`{MAKE_ONE}`\n        or, if you want neither experiments nor commits: "
            "`dvc config --local core.no_scm true`",
        )


def line_ends() -> Iterator[Finding]:
    """Text that has CRLF here and LF in git, as core.autocrlf made it: other bytes than dvc.lock records."""
    listed = _git("ls-files", "-z", "--eol").stdout.split("\0") if shutil.which("git") else []
    paths = [Path(line.partition("\t")[2]) for line in listed if CRLF.match(line)]
    for path in paths:
        mode, content = path.stat().st_mode, path.read_bytes()
        write_bytes(path, content.replace(b"\r\n", b"\n"))
        path.chmod(mode)
    if paths:
        fault = f"CRLF at the ends of lines, where git and dvc.lock have LF: {paths[0]}"
        more = f" and {len(paths) - 1} more" if paths[1:] else ""
        yield Finding(fault + more, "they end in LF again", repaired=True)


def conflicts() -> Iterator[Finding]:
    """Files in which git left the markers of a merge: DVC does not read them."""
    if error := conflict():
        fault, _, remedy = str(error).partition("\n  ")
        yield Finding(fault, remedy)


def repository() -> Path | None:
    """The nearest folder from here upwards that is a git repository; found without git."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), None)


def _repository_faults() -> Iterator[Finding]:
    done = _git("rev-parse", "--show-toplevel")
    if "dubious ownership" in done.stderr:
        root = repository() or Path.cwd()
        yield Finding(
            f"git refuses {root}: it belongs to user {root.stat().st_uid}, and you are {os.geteuid()}; "
            "so `make track` and DVC's experiments fail",
            f"if you trust it: `git config --global --add safe.directory {root}`; or clone it yourself",
        )
        return
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        yield Finding(f"git cannot read this repository: {reason}", "clone it again")
        return
    top = done.stdout.strip()
    if Path(top) != Path.cwd().resolve() and _git("ls-files", "--error-unmatch", "dvc.yaml").returncode:
        yield Finding(
            f"this folder lies in the git repository {top}, which does not have its files: "
            "commits and experiments would go there",
            f"make one of its own: `{MAKE_ONE}`",
        )
    elif _git("rev-parse", "--verify", "HEAD").returncode:
        yield Finding(
            f"the git repository {top} has no commit yet: experiments need one",
            "`git add -A && git commit -m start`",
        )
    if _git("var", "GIT_COMMITTER_IDENT").returncode:
        yield Finding(
            "git does not know who you are, and will not commit",
            "`git config --global user.name '…' && git config --global user.email '…'`",
        )


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"LC_ALL": "C"}
    return subprocess.run(
        ["git", *arguments], capture_output=True, text=True, errors="surrogateescape", env=environment
    )
