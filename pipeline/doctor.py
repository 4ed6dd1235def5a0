"""What is wrong with this project on this machine: `make doctor` mends what it can, and explains the rest.

`--first` is what `make repro` begins with: it mends what would stop the pipeline, or falsify it, and says
nothing else.
"""

from __future__ import annotations

import argparse
import os
import resource
import shlex
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from pipeline import damage, git_checks, mending, packages, stale
from pipeline.console import UserError, run, say
from pipeline.mending import Check, Finding
from pipeline.params import read

OLDEST = (3, 11)
NEEDED = 2 * 1024**3  # bytes; the pipeline on MNIST, its cache and MLflow's store take half of that
FOLDERS = ("data", "models", "reports", ".dvc", ".")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.doctor", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--first", action="store_true", help="mend what would stop or falsify the pipeline")
    if parser.parse_args().first:
        for finding in git_checks.missing_repository():
            raise UserError(text(finding))
        if mending.at_work():
            return  # nothing of its may be touched; the dvc that comes next says who it is
        for check in (*mending.FIRST, damage.run_cache, damage.referenced):
            for finding in examined(check):
                say(f"mended: {finding.what}: {finding.remedy}" if finding.mended else text(finding))
        return
    if busy := mending.at_work():
        raise UserError(
            f"dvc (process {busy[0]}) is at work in this folder, and what it writes cannot be judged yet\n"
            "  Wait for it to end, or stop it, then ask again."
        )
    open_ones = 0
    for title, check in CHECKS.items():
        findings = list(examined(check))
        print(f"{'ok' if not findings else '! ':<3} {title}", flush=True)
        for finding in findings:
            print(f"      {text(finding)}", flush=True)
        open_ones += sum(not finding.mended for finding in findings)
    if open_ones:
        sys.exit(f"\n{open_ones} to be seen to, as said above")


def examined(check: Check) -> Iterator[Finding]:
    """What a check finds; a file that cannot be read is a finding, and does not end the others."""
    try:
        yield from check()
    except OSError as error:
        yield _open(
            f"{error.filename or 'a file'} cannot be read or written: {error.strerror}",
            "`ls -ld` tells who may; a disk that fails should be copied while it can be read",
        )


def text(finding: Finding) -> str:
    arrow = "mended" if finding.mended else "to do"
    return f"{finding.what}\n        {arrow}: {finding.remedy}"


def python() -> Iterator[Finding]:
    if sys.version_info[:2] < OLDEST:
        yield _open(
            f"Python {sys.version.split()[0]} is too old: 3.11 or newer is needed",
            "`rm -r .venv && make repro PYTHON=python3.11`",
        )


def pairing() -> Iterator[Finding]:
    """torchvision is built for one torch, and fails at import, or in an operator, beside another."""
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(line) for line in requires("torchvision") or []]
    except PackageNotFoundError:
        yield _open("torchvision is not installed", "`pip install -c constraints.txt -e .`")
        return
    for found in wanted:
        number = packages.installed("torch")
        if found.name == "torch" and not found.specifier.contains(number, prereleases=True):
            yield _open(
                f"torchvision {packages.installed('torchvision')} is built for torch {found.specifier}, "
                f"and torch {number} is installed",
                "`pip install -c constraints.txt -e .` installs the pair that is pinned",
            )


def versions() -> Iterator[Finding]:
    pins = packages.pinned() if packages.CONSTRAINTS.is_file() else {}
    for package in sorted({name for members in packages.MATTER.values() for name in members}):
        pin = pins.get(packages.normal(package))
        if pin and packages.installed(package) != pin:
            yield _open(
                f"{package} {packages.installed(package)} is installed, and {pin} is pinned",
                "`pip install -c constraints.txt -e .`; other versions may give other numbers",
            )
    if changed := packages.changed():
        yield _open(
            "installed since the pipeline ran: " + "; ".join(changed),
            "`make repro` records what is installed, and reruns what depends on it",
        )


def room() -> Iterator[Finding]:
    free = shutil.disk_usage(".").free
    if free < NEEDED:
        yield _open(
            f"{free / 1024**3:.2f} GiB are free on this disk; a run may need {NEEDED / 1024**3:.0f}",
            "free some space; `dvc gc --workspace` drops what no present output needs",
        )
    # where it stops DVC's own databases, DVC says no more than "disk I/O error"
    limit, _hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit != resource.RLIM_INFINITY and limit < NEEDED:
        yield _open(
            f"no file may exceed {limit / 1024**2:.1f} MiB here (ulimit -f); a run may need {NEEDED >> 20}",
            "`ulimit -f unlimited`, or ask who set it",
        )


def permissions() -> Iterator[Finding]:
    for folder in map(Path, FOLDERS):
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            yield _open(
                f"no permission to write in {folder.resolve()}",
                f"give yourself the permission (`ls -ld {folder}` tells who has it), or clone the project "
                "to a place of your own",
            )


def params() -> Iterator[Finding]:
    try:
        read()
    except (UserError, OSError) as error:
        yield _open(str(error), "`git diff params.yaml` shows what changed")


def checkpoints() -> Iterator[Finding]:
    waiting = [path for path in Path(".work").glob("*") if any(path.glob("*.safetensors"))]
    waiting = [path for path in waiting if path.name != mending.ASIDE.name]
    if waiting:
        yield Finding(
            f"{len(waiting)} interrupted training(s) have checkpoints in .work",
            "nothing to do: `dvc repro` goes on from them (or remove .work, to forget them)",
            True,
        )


def left_over() -> Iterator[Finding]:
    from dvc.exceptions import DvcException

    try:
        _, left = stale.look()
    except (UserError, DvcException):  # git, params.yaml or dvc.lock: another check says it
        return
    if left:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        yield _open(
            f"no stage makes {left[0]}{more}; a variant that was removed from params.yaml leaves such",
            f"`rm -r {shlex.join(left)}`",
        )


def _open(what: str, remedy: str) -> Finding:
    return Finding(what, remedy, False)


CHECKS: dict[str, Check] = {
    "stages whose dvc was killed": mending.orphans,
    "Python": python,
    "torch and torchvision belong together": pairing,
    "packages are those pinned and recorded": versions,
    "room on the disk": room,
    "permissions": permissions,
    "params.yaml": params,
    "git": git_checks.git,
    "dvc.lock": mending.dvc_lock,
    "DVC's list of who is at work": mending.rwlock,
    "DVC's locks": mending.hardlink_locks,
    "DVC's queue": mending.queue,
    "half-written files": mending.leftovers,
    "DVC's cache, object by object": damage.cache,
    "DVC's records of runs": damage.run_cache,
    "data and models are what their stages wrote": damage.damaged_outputs,
    "outputs are there": damage.missing_outputs,
    "no output of a removed variant": left_over,
    "MLflow's store": damage.mlflow_store,
    "checkpoints": checkpoints,
}


if __name__ == "__main__":
    run(main)
