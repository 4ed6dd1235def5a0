"""Damage in what was computed: DVC's cache, files taken from it, MLflow's store; mended where possible."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from pipeline.console import UserError
from pipeline.files import md5, write_bytes
from pipeline.lockfile import CACHE, entries, files, outputs
from pipeline.mending import Finding, set_aside

RUNS = Path(".dvc/cache/runs")


def _locked() -> dict[str, str]:
    """The md5 of each output in dvc.lock, by path; none where it cannot be read, which is another check's."""
    try:
        return outputs(entries())
    except (OSError, UserError):
        return {}


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
        set_aside(path)
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
    for path, sum_ in files(_locked()).items():
        copies.setdefault(sum_, []).append(Path(path))
    return copies


def damaged_outputs() -> Iterator[Finding]:
    """Cached outputs that are not as their stage wrote them: edited, damaged, or copies of a damaged object.

    DVC keeps what it knows of a file by its time and size, and would believe a copy that it made itself.
    """
    for name, sum_ in files(_locked()).items():
        path = Path(name)
        if not path.is_file() or path.is_relative_to("reports") or not sum_:
            continue
        actual = md5(path)
        known = CACHE / actual[:2] / actual[2:]  # of another commit, say: DVC can bring it back
        if actual != sum_ and not known.is_file():
            kept = set_aside(path)
            yield Finding(
                f"{path} is not what its stage wrote",
                f"it is set aside as {kept}; `dvc repro` brings back what belongs there",
                True,
            )


def missing_outputs() -> Iterator[Finding]:
    """Outputs in dvc.lock that are not there, as in a fresh clone."""
    gone = [path for path in _locked() if not Path(path).exists()]
    if gone:
        names = ", ".join(gone[:3]) + (f" and {len(gone) - 3} more" if len(gone) > 3 else "")
        yield Finding(f"missing: {names}", "`dvc repro` makes them, or takes them from its cache", False)


def mlflow_store() -> Iterator[Finding]:
    """The local SQLite store: whole, and with MLflow's tables.

    It is opened to be written: so SQLite itself rolls back what a killed process left half-done.
    """
    from filelock import FileLock

    path = Path("mlflow.db")
    if not path.is_file():
        return
    try:
        # a tracker that has just started makes its tables
        with FileLock(f"{path}.lock"), closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True)) as store:
            sound = store.execute("PRAGMA quick_check").fetchone()[0] == "ok"
            tables = {row[0] for row in store.execute("SELECT name FROM sqlite_master")}
            if sound and "runs" in tables:
                sound = bool(store.execute("SELECT count(*) FROM alembic_version").fetchone()[0])
        fault = "" if sound and "runs" in tables else "it is half-written"
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):  # then someone is at work on it
            yield Finding(f"{path}: {error}", f"`ls -ld . {path}` tells who may write there", False)
        return
    except sqlite3.DatabaseError as error:
        fault = str(error)
    if fault:
        kept = set_aside(path)
        for rest in ("-wal", "-shm", "-journal"):
            beside = path.with_name(path.name + rest)
            if beside.exists():
                beside.rename(kept.with_name(kept.name + rest))
        yield Finding(
            f"MLflow's store {path} is damaged: {fault}",
            f"it is set aside as {kept}; `make track` makes it again from the files",
            True,
        )


def run_cache() -> Iterator[Finding]:
    """DVC's records of stages that ran: one that is cut off stops each later `dvc repro` of its stage."""
    from dvc.schema import COMPILED_LOCK_FILE_STAGE_SCHEMA
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError
    from voluptuous import Invalid

    for path in sorted(RUNS.glob("??/*/*")):
        try:
            content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
            if COMPILED_LOCK_FILE_STAGE_SCHEMA(content).get("outs"):
                continue
        except (YAMLError, Invalid, ValueError):
            pass
        kept = set_aside(path)
        yield Finding(f"{path}, a record of DVC's, is cut off", f"it is set aside as {kept}", True)


def referenced() -> Iterator[Finding]:
    """Damage in the objects and files that dvc.lock names."""
    locked = _locked()
    yield from cache({*locked.values(), *files(locked).values()})
    yield from damaged_outputs()
