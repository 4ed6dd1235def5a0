"""What a kill leaves broken in DVC's own files: found, and mended where nothing is lost by it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipeline.console import UserError, say
from pipeline.files import write_bytes
from pipeline.lockfile import CACHE, LOCK, content

TMP = Path(".dvc/tmp")
ASIDE = Path(".work/damaged")
CONFLICT = "<<<<<<<"
ABANDONED = 600.0  # seconds since a temporary file was last written to
OUTPUTS = ("data", "models", "reports", ".work")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        what: in a sentence.
        remedy: what was done about it, or what the user can do.
        mended: it was done.
    """

    what: str
    remedy: str
    mended: bool


def dvc_lock() -> Iterator[Finding]:
    """dvc.lock is rewritten in place after each stage: a kill in that moment cuts it off."""
    fault = _fault()
    if not fault:
        return
    if CONFLICT in LOCK.read_text(encoding="utf-8", errors="replace"):
        yield Finding(
            f"{LOCK} holds a merge conflict",
            "`git checkout --ours dvc.lock` (or --theirs), then `dvc repro`",
            False,
        )
        return
    kept = set_aside(LOCK)
    if content_of_head := _at_head():
        write_bytes(LOCK, content_of_head)
        source = "HEAD's is in its place"
    else:
        source = "a new one will be written"
    yield Finding(
        fault,
        f"{source} ({kept} has the damaged one); `dvc repro` takes what has run meanwhile from its cache",
        True,
    )


def _at_head() -> bytes:
    """What HEAD has as dvc.lock; nothing where there is no git, or no such file."""
    try:
        done = subprocess.run(["git", "show", f"HEAD:./{LOCK}"], capture_output=True)
    except FileNotFoundError:
        return b""
    return done.stdout if done.returncode == 0 else b""


def _fault() -> str:
    """Why DVC could not read dvc.lock; empty: it can, or there is none."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    for patience in (0.5, 1.5, 0.0):  # a dvc that is at work needs half a second to write it
        try:
            # a number that was cut off may still look like one: DVC's own schema knows
            COMPILED_LOCKFILE_SCHEMA(content())
            return ""
        except FileNotFoundError:
            return ""
        except UserError as error:
            fault = str(error)
        except Invalid as error:
            fault = f"{LOCK} is damaged: {error}"
        time.sleep(patience)
    return fault


def at_work() -> list[int]:
    """The process numbers of each dvc that runs a stage in this folder."""
    try:
        held = json.loads((TMP / "rwlock").read_text(encoding="utf-8"))
        owners = [*held["write"].values()]
        return sorted({int(owner["pid"]) for owner in owners if _is_dvc(int(owner["pid"]))})
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return []


def orphans() -> Iterator[Finding]:
    """Stages that go on although the dvc that started them was killed: they have still to write."""
    from filelock import FileLock, Timeout

    for path in sorted((TMP / "stages").glob("*.lock")):
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"{path.stem}: a stage of a dvc that was killed is still at work; waiting for it to end")
            lock.acquire()
            yield Finding(f"{path.stem} was still at work", "waited for it to end", True)
        lock.release()


def rwlock() -> Iterator[Finding]:
    """DVC's list of who reads and writes what is rewritten in place, too."""
    path = TMP / "rwlock"
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        owners = [*held.get("write", {}).values()]
        owners += [owner for many in held.get("read", {}).values() for owner in many]
        pids = {int(owner["pid"]) for owner in owners}
    except FileNotFoundError:
        return
    except (ValueError, AttributeError, KeyError, TypeError):
        # of a dvc that is at work it would be whole a moment later
        time.sleep(0.5)
        if _readable(path):
            return
        path.unlink(missing_ok=True)
        yield Finding(f"{path} is damaged", "it is removed; it holds nothing but who is at work", True)
        return
    strangers = {pid for pid in pids if psutil.pid_exists(pid) and not _is_dvc(pid)}
    if strangers:
        path.unlink(missing_ok=True)
        yield Finding(
            f"{path} names a killed dvc whose number another process has got ({min(strangers)})",
            "it is removed; DVC would have waited for that process",
            True,
        )


def _readable(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except FileNotFoundError:
        return True
    except ValueError:
        return False


def _is_dvc(pid: int) -> bool:
    try:
        return any("dvc" in word for word in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False


def hardlink_locks() -> Iterator[Finding]:
    """With `core.hardlink_lock` a lock is a file that a killed process leaves (`host|pid|name`)."""
    for path in (TMP / "lock", TMP / "rwlock.lock"):
        try:
            words = path.read_text(encoding="utf-8").split("|")
        except (OSError, UnicodeDecodeError):
            continue
        if len(words) >= 2 and words[1].isdigit() and not psutil.pid_exists(int(words[1])):
            path.unlink(missing_ok=True)
            yield Finding(f"{path} is held by process {words[1]}, which is dead", "it is removed", True)


def queue() -> Iterator[Finding]:
    """Tasks of DVC's queue whose worker was killed: `dvc queue status` says Running for ever."""
    for path in sorted((TMP / "exps/run").glob("*/*.json")):
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
            dead = about["returncode"] is None and not psutil.pid_exists(int(about["pid"]))
        except (ValueError, KeyError, TypeError):
            continue
        if dead:
            yield Finding(
                f"the experiment {path.stem[:7]} counts as running in DVC's queue, and its process is dead",
                f"`dvc queue kill {path.stem[:7]}`, queue it again, and `dvc queue start` for what is left",
                False,
            )


def leftovers() -> Iterator[Finding]:
    """Temporary files of processes that were killed while they wrote, or for which the disk was full."""
    found = [path for path in _abandoned() if path.is_file()]
    for path in found:
        path.unlink(missing_ok=True)
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        yield Finding(f"half-written files of killed processes: {found[0]}{more}", "they are removed", True)


def _abandoned() -> Iterator[Path]:
    """Ours name the process (`.name.pid.tmp`).

    Those that DVC leaves in its cache do not: who writes one, does so all the time.
    """
    for folder in OUTPUTS:
        for path in Path(folder).rglob(".*.tmp"):
            number = re.search(r"\.(\d+)\.tmp$", path.name)
            if number and not psutil.pid_exists(int(number[1])):
                yield path
    for path in CACHE.rglob(".*.tmp"):
        if path.stat().st_mtime < time.time() - ABANDONED:
            yield path


def set_aside(path: Path) -> Path:
    """Moves a damaged file out of the way, and keeps it."""
    place = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    kept = ASIDE / f"{time.strftime('%Y%m%d-%H%M%S')}-{place}-{path.name}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(path, kept)
    os.chmod(kept, 0o644)  # noqa: PTH101
    return kept


Check = Callable[[], Iterator[Finding]]
# What `make repro` begins with: what would stop it, or make it go on from damaged files.
FIRST: tuple[Check, ...] = (orphans, dvc_lock, rwlock, hardlink_locks, leftovers)
