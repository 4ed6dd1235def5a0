"""What a kill, a full disk or a bad sector leaves broken: found, and mended where nothing is lost by it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from pipeline.files import md5, write_bytes

LOCK = Path("dvc.lock")
TMP = Path(".dvc/tmp")
CACHE = Path(".dvc/cache/files/md5")
ASIDE = Path(".work/damaged")
CONFLICT = "<<<<<<<"
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
    fault = _fault_of(LOCK)
    if not fault:
        return
    if CONFLICT in LOCK.read_text(encoding="utf-8", errors="replace"):
        yield Finding(
            f"{LOCK} holds a merge conflict",
            "`git checkout --ours dvc.lock` (or --theirs), then `dvc repro`",
            False,
        )
        return
    kept = _set_aside(LOCK)
    done = subprocess.run(["git", "show", f"HEAD:./{LOCK}"], capture_output=True)
    if done.returncode == 0:
        write_bytes(LOCK, done.stdout)
        source = "HEAD's is in its place"
    else:
        source = "a new one will be written"
    yield Finding(
        f"{LOCK} is damaged: {fault}",
        f"{source} ({kept} has the damaged one); `dvc repro` takes what has run meanwhile from its cache",
        True,
    )


def _fault_of(path: Path) -> str:
    """Why DVC could not read a dvc.lock; empty: it can, or there is none."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    except (YAMLError, UnicodeDecodeError):
        return "it is no YAML"
    if not isinstance(content, dict) or not isinstance(content.get("stages"), dict):
        return "it has no stages"
    for name, entry in content["stages"].items():
        if not isinstance(entry, dict) or not isinstance(entry.get("cmd"), str):
            return f"its entry {name} is cut off"
        items = [*(entry.get("deps") or []), *(entry.get("outs") or [])]
        if not all(isinstance(item, dict) and isinstance(item.get("path"), str) for item in items):
            return f"its entry {name} is cut off"
    return ""


def rwlock() -> Iterator[Finding]:
    """DVC's list of who reads and writes what is rewritten in place, too."""
    path = TMP / "rwlock"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        owners = [*content.get("write", {}).values()]
        owners += [owner for many in content.get("read", {}).values() for owner in many]
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


def leftovers() -> Iterator[Finding]:
    """Temporary files of processes that were killed while they wrote (`.name.pid.tmp`)."""
    found = []
    for folder in OUTPUTS:
        for path in Path(folder).rglob(".*.tmp"):
            number = re.search(r"\.(\d+)\.tmp$", path.name)
            if path.is_file() and number and not psutil.pid_exists(int(number[1])):
                path.unlink(missing_ok=True)
                found.append(str(path))
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        yield Finding(f"half-written files of killed processes: {found[0]}{more}", "they are removed", True)


def cache(wanted: set[str] | None = None) -> Iterator[Finding]:
    """Objects in DVC's cache whose content is not what their name says; DVC itself does not look.

    Args:
        wanted: md5 sums to look at; None: all.
    """
    good = _good_copies()
    for path in sorted(CACHE.glob("??/*")):
        name = path.parent.name + path.name
        if (wanted is not None and name not in wanted) or not re.fullmatch(r"[0-9a-f]{32}(\.dir)?", name):
            continue
        sum_ = name.removesuffix(".dir")
        actual = md5(path)
        if actual == sum_:
            continue
        _set_aside(path)
        whole = next((copy for copy in good.get(sum_, []) if copy.is_file() and md5(copy) == sum_), None)
        if whole:
            write_bytes(path, whole.read_bytes())
            path.chmod(0o444)
            remedy = f"it is replaced by {whole}, which is whole"
        else:
            remedy = "it is taken out of the cache: `dvc repro` makes it again (or `dvc fetch` brings it)"
        yield Finding(f"{path} in DVC's cache is damaged", remedy, True)
        # copies of the damaged object: DVC believes that they are what it took out
        for copy in good.get(sum_, []):
            if not whole and copy.is_file() and md5(copy) == actual:
                copy.unlink()
                yield Finding(f"{copy} is a copy of that damaged object", "it is removed", True)


def _good_copies() -> dict[str, list[Path]]:
    """Where in the working directory the content of a md5 sum should be, by dvc.lock."""
    copies: dict[str, list[Path]] = {}
    for out in locked_outputs():
        copies.setdefault(out.get("md5", ""), []).append(Path(out["path"]))
    return copies


def locked_outputs() -> list[dict[str, Any]]:
    """Path and md5 of each output in dvc.lock; none where it cannot be read."""
    from ruamel.yaml import YAML

    if not LOCK.is_file() or _fault_of(LOCK):
        return []
    stages = YAML(typ="safe").load(LOCK.read_text(encoding="utf-8"))["stages"]
    return [out for entry in stages.values() for out in entry.get("outs") or []]


def damaged_outputs() -> Iterator[Finding]:
    """Cached outputs that are not as their stage wrote them: edited, damaged, or copies of a damaged object.

    DVC keeps what it knows of a file by its time and size, and would believe a copy that it made itself.
    """
    for out in locked_outputs():
        path, sum_ = Path(out["path"]), out.get("md5", "")
        if not path.is_file() or path.is_relative_to("reports") or not sum_:
            continue
        actual = md5(path)
        known = CACHE / actual[:2] / actual[2:]  # of another commit, say: DVC can bring it back
        if actual != sum_ and not known.is_file():
            kept = _set_aside(path)
            yield Finding(
                f"{path} is not what its stage wrote",
                f"it is set aside as {kept}; `dvc repro` brings back what belongs there",
                True,
            )


def missing_outputs() -> Iterator[Finding]:
    """Outputs in dvc.lock that are not there, as in a fresh clone."""
    gone = [out["path"] for out in locked_outputs() if not Path(out["path"]).exists()]
    if gone:
        names = ", ".join(gone[:3]) + (f" and {len(gone) - 3} more" if len(gone) > 3 else "")
        yield Finding(f"missing: {names}", "`dvc repro` makes them, or takes them from its cache", False)


def mlflow_store() -> Iterator[Finding]:
    """The local SQLite store: whole, and with MLflow's tables."""
    path = Path("mlflow.db")
    if not path.is_file():
        return
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
            sound = store.execute("PRAGMA quick_check").fetchone()[0] == "ok"
            tables = {row[0] for row in store.execute("SELECT name FROM sqlite_master")}
            if sound and "runs" in tables:
                sound = bool(store.execute("SELECT count(*) FROM alembic_version").fetchone()[0])
        fault = "" if sound and "runs" in tables else "it is half-written"
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return  # someone is at work on it
        fault = str(error)
    except sqlite3.DatabaseError as error:
        fault = str(error)
    if fault:
        kept = _set_aside(path)
        for rest in ("-wal", "-shm", "-journal"):
            path.with_name(path.name + rest).unlink(missing_ok=True)
        yield Finding(
            f"MLflow's store {path} is damaged: {fault}",
            f"it is set aside as {kept}; `make track` makes it again from the files",
            True,
        )


def _set_aside(path: Path) -> Path:
    """Moves a damaged file out of the way, and keeps it."""
    content = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    kept = ASIDE / f"{time.strftime('%Y%m%d-%H%M%S')}-{content}-{path.name}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(path, kept)
    os.chmod(kept, 0o644)  # noqa: PTH101
    return kept


Check = Callable[[], Iterator[Finding]]
# What `make repro` begins with: what would stop it, or make it go on from damaged files.
FIRST: tuple[Check, ...] = (dvc_lock, rwlock, hardlink_locks, leftovers)


def referenced() -> Iterator[Finding]:
    """Damage in the objects and files that dvc.lock names."""
    yield from cache({out.get("md5", "") for out in locked_outputs()})
    yield from damaged_outputs()
