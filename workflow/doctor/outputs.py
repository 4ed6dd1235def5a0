"""Damage in what was computed: DVC's cache, files taken from it, MLflow's store; repaired where possible."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from filelock import FileLock
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from workflow.core.errors import UserError
from workflow.core.files import md5, write_bytes
from workflow.doctor.dvc_files import Finding, set_aside
from workflow.runs import dvc_repo
from workflow.runs.lockfile import CACHE, entries, files, outputs

RUNS = Path(".dvc/cache/runs")


def _locked() -> dict[str, str]:
    """The md5 of each output in dvc.lock, by path; none where it cannot be read, which has its own check."""
    try:
        return outputs(entries())
    except (OSError, UserError):
        return {}


def cache(expected: set[str] | None = None) -> Iterator[Finding]:
    """Objects in DVC's cache whose content does not match their name; DVC itself does not check it.

    Args:
        expected: the md5 sums to check; None: all.
    """
    locked = files(_locked())
    for path in sorted(CACHE.glob("??/*")):
        name = path.parent.name + path.name
        if (expected is not None and name not in expected) or not re.fullmatch(r"\w{32}(\.dir)?", name):
            continue
        sum_, actual = name.removesuffix(".dir"), md5(path)
        if actual == sum_:
            continue
        set_aside(path)
        copies = [Path(file) for file, of_file in locked.items() if of_file == sum_ and Path(file).is_file()]
        if whole := next((copy for copy in copies if md5(copy) == sum_), None):
            write_bytes(path, whole.read_bytes())
            path.chmod(0o444)
            remedy = f"it is replaced by a copy of {whole}"
        else:
            remedy = "it is taken out of the cache: `dvc repro` makes it again (or `dvc fetch` brings it)"
        yield Finding(f"{path} in DVC's cache is damaged", remedy, repaired=True)
        # DVC trusts the copies that it made of the damaged object
        for copy in copies:
            if not whole and md5(copy) == actual:
                copy.unlink()
                yield Finding(f"{copy} is a copy of that damaged object", "it is removed", repaired=True)


def referenced() -> Iterator[Finding]:
    """Damage in the objects and files that dvc.lock lists."""
    yield from cache(set(files(_locked()).values()))
    yield from damaged_outputs()


def damaged_outputs() -> Iterator[Finding]:
    """Cached outputs that differ from dvc.lock: edited, damaged, or copies of a damaged object.

    DVC remembers the md5 of a file by its time and size, and would trust a copy that it made itself.
    """
    for name, sum_ in files(_locked()).items():
        path = Path(name)
        if not path.is_file() or path.is_relative_to("reports") or not sum_:
            continue
        actual = md5(path)
        if actual != sum_ and not (CACHE / actual[:2] / actual[2:]).is_file():  # else DVC can bring it back
            moved = set_aside(path)
            remedy = f"it is moved to {moved}; `dvc repro` brings back the file of dvc.lock"
            yield Finding(f"{path} differs from dvc.lock", remedy, repaired=True)


def missing_outputs() -> Iterator[Finding]:
    """Outputs in dvc.lock that are not there, as in a fresh clone."""
    missing = [path for path in _locked() if not Path(path).exists()]
    if missing:
        names = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        yield Finding(f"missing: {names}", "`dvc repro` makes them, or takes them from its cache")


def mlflow_store() -> Iterator[Finding]:
    """The local SQLite store: whole, and with MLflow's tables.

    It is opened for writing, so that SQLite itself rolls back what a killed process left half-written.
    """
    path = Path("mlflow.db")
    if not path.is_file():
        return
    try:
        # the lock: a tracker that has just started creates its tables
        with FileLock(f"{path}.lock"), closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True)) as store:
            whole = (
                store.execute("PRAGMA quick_check").fetchone() == ("ok",)
                and store.execute("SELECT name FROM sqlite_master WHERE name = 'runs'").fetchone()
                and store.execute("SELECT * FROM alembic_version").fetchone()
            )
        fault = "" if whole else "it is half-written"
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):  # then another process is using it
            yield Finding(f"{path}: {error}", f"`ls -ld . {path}` shows who may write there")
        return
    except sqlite3.DatabaseError as error:
        fault = str(error)
    if fault:
        moved = set_aside(path)
        for suffix in ("-wal", "-shm", "-journal"):
            with suppress(FileNotFoundError):
                Path(f"{path}{suffix}").rename(f"{moved}{suffix}")
        yield Finding(
            f"MLflow's store {path} is damaged: {fault}",
            f"it is moved to {moved}; `make track` makes it again from the files",
            repaired=True,
        )


def run_cache() -> Iterator[Finding]:
    """DVC's records of stages that ran: one that is cut off stops each later `dvc repro` of its stage."""
    for path in sorted(RUNS.glob("??/*/*")):
        with suppress(YAMLError, ValueError):
            record = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
            if not dvc_repo.lock_fault(record, run_record=True):
                continue
        moved = set_aside(path)
        yield Finding(f"DVC's record of a run, {path}, is cut off", f"it is moved to {moved}", repaired=True)
