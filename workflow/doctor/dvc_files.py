"""What a kill leaves damaged in DVC's own files: found, and repaired where nothing is lost by it."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from filelock import FileLock

from workflow.core.errors import UserError
from workflow.core.files import write_bytes
from workflow.runs import dvc_repo, locks
from workflow.runs.lockfile import CACHE, LOCK, content
from workflow.runs.worktree import conflicted_files

TMP = Path(".dvc/tmp")
RWLOCK = TMP / "rwlock"
DAMAGED = Path(".work/damaged")
ABANDONED_AFTER = 600.0  # seconds since a temporary file of DVC was written to
OUTPUTS = ("data", "models", "reports", ".work")


@dataclass(frozen=True)
class Finding:
    """One fault, in a sentence, and its remedy: what was done if it is `repaired`, else what to do."""

    fault: str
    remedy: str
    repaired: bool = False

    def __str__(self) -> str:
        return f"{self.fault}\n        {'repaired' if self.repaired else 'to do'}: {self.remedy}"


def dvc_lock() -> Iterator[Finding]:
    """DVC rewrites dvc.lock in place after each stage, so that a kill in that moment cuts it off."""
    fault = _fault_of_dvc_lock()
    if not fault or str(LOCK) in conflicted_files():  # git's check reports that
        return
    moved = set_aside(LOCK)
    source = "a new one will be written"
    with suppress(FileNotFoundError, subprocess.CalledProcessError):  # no git, or no such file at HEAD
        command = ["git", "show", f"HEAD:./{LOCK}"]
        write_bytes(LOCK, subprocess.check_output(command, stderr=subprocess.DEVNULL))
        source = "HEAD's is in its place"
    yield Finding(
        fault,
        f"{source} ({moved} is the damaged one); `dvc repro` takes what has run meanwhile from its cache",
        repaired=True,
    )


def _fault_of_dvc_lock() -> str:
    """Why DVC cannot read dvc.lock; empty where it can, or where there is none."""
    fault = ""
    for wait in (0.5, 1.5, 0.0):  # a running dvc needs half a second to write it
        try:
            # a number that was cut off may still look like one: DVC's own schema finds it
            if not (cut := dvc_repo.lock_fault(content())):
                return ""
            fault = f"{LOCK} is damaged: {cut}"
        except FileNotFoundError:
            return ""
        except UserError as error:
            fault = str(error)
        time.sleep(wait)
    return fault


def running_dvc() -> list[int]:
    """The process ids of each dvc that writes in this folder."""
    try:
        return sorted(filter(_is_dvc, _listed_processes(readers=False)))
    except (OSError, ValueError):
        return []


def orphans() -> Iterator[Finding]:
    """Stages that still run although the dvc that started them was killed: waits for them."""
    for path in sorted((TMP / "stages").glob("*.lock")):
        lock = FileLock(path)
        message = f"{path.stem}: a stage of a killed dvc is still running; waiting for it to end"
        if locks.acquire(lock, message):
            yield Finding(f"{path.stem} was still running", "waited for it to end", repaired=True)
        lock.release()


def rwlock() -> Iterator[Finding]:
    """DVC's list of the processes that read and write its files, which it rewrites in place, too."""
    try:
        others = {pid for pid in _listed_processes() if psutil.pid_exists(pid) and not _is_dvc(pid)}
    except ValueError:
        RWLOCK.unlink(missing_ok=True)
        remedy = "it is removed; it only lists running processes"
        yield Finding(f"{RWLOCK} is damaged", remedy, repaired=True)
        return
    if others:
        RWLOCK.unlink(missing_ok=True)
        yield Finding(
            f"{RWLOCK} lists a killed dvc whose process id now belongs to another program ({min(others)})",
            "it is removed; DVC would have waited for that program",
            repaired=True,
        )


def _listed_processes(*, readers: bool = True) -> set[int]:
    """The process ids in DVC's list; raises a ValueError if it is damaged and no running dvc completes it."""
    for wait in (0.5, 0.0):
        try:
            listed = json.loads(RWLOCK.read_text(encoding="utf-8"))
            processes = list(listed.get("write", {}).values())
            if readers:
                processes += [process for found in listed.get("read", {}).values() for process in found]
            return {int(process["pid"]) for process in processes}
        except FileNotFoundError:
            return set()
        except (ValueError, AttributeError, KeyError, TypeError):
            time.sleep(wait)
    raise ValueError(f"{RWLOCK} is damaged")


def _is_dvc(pid: int) -> bool:
    try:
        return any("dvc" in word for word in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False


def queue() -> Iterator[Finding]:
    """Tasks of DVC's queue whose worker was killed: `dvc queue status` shows Running for ever."""
    for path in sorted((TMP / "exps/run").glob("*/*.json")):
        with suppress(ValueError, KeyError, TypeError):
            about = json.loads(path.read_text(encoding="utf-8"))
            if about["returncode"] is None and not psutil.pid_exists(int(about["pid"])):
                name = path.stem[:7]
                yield Finding(
                    f"the experiment {name} counts as running in DVC's queue, and its process is dead",
                    f"`dvc queue kill {name}`, queue it again, and `dvc queue start` for what is left",
                )


def unfinished_files() -> Iterator[Finding]:
    """Temporary files of processes that were killed, or had no space on the disk, while they wrote."""
    found = []
    for path in [path for folder in OUTPUTS for path in Path(folder).rglob(".*.tmp")]:
        pid = re.search(r"\.(\d+)\.tmp$", path.name)
        if pid and path.is_file() and not psutil.pid_exists(int(pid[1])):
            found.append(path)
    # the names of DVC's hold no process id
    for path in CACHE.rglob(".*.tmp"):
        if path.is_file() and path.stat().st_mtime < time.time() - ABANDONED_AFTER:
            found.append(path)
    for path in found:
        path.unlink(missing_ok=True)
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        fault = f"half-written files of killed processes: {found[0]}{more}"
        yield Finding(fault, "they are removed", repaired=True)


def set_aside(path: Path) -> Path:
    """Moves a damaged file to .work/damaged; returns its new path."""
    moved = DAMAGED / f"{time.strftime('%Y%m%d-%H%M%S')}-{'-'.join(path.parts)}"
    moved.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(path, moved)
    moved.chmod(0o644)
    return moved


Check = Callable[[], Iterator[Finding]]
# What `make repro` begins with: what would stop it, or make it use damaged files.
FIRST: tuple[Check, ...] = (orphans, dvc_lock, rwlock, unfinished_files)
