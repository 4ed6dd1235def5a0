"""Before a stage that DVC runs: is it alone, are its packages those recorded, its inputs those made?"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from pipeline import packages
from pipeline.console import fail, say
from pipeline.files import md5

BEGAN = time.time()  # of this process
FIRST = ("check_params", "record_packages")  # they come before there is anything to compare with
_held: list[Any] = []  # locks, until the process ends


def stand() -> None:
    """Waits for whoever is at work on the same stage; exits with a message where something is amiss."""
    stage = os.environ.get("DVC_STAGE", "")
    if not stage:
        return
    alone(stage)
    if stage in FIRST:
        return
    if changed := packages.changed():
        fail(
            "the installed packages are not those that data/packages records:\n  "
            + "\n  ".join(changed)
            + "\n  `make repro` records what is installed, and reruns what depends on it;"
            + "\n  `pip install -c constraints.txt -e .` brings the pinned packages back."
        )
    if damaged := inputs(stage):
        fail(
            f"{stage} would read what no stage wrote:\n  "
            + "\n  ".join(damaged)
            + "\n  `make doctor` finds what is damaged, in DVC's cache too, and mends it."
        )


def alone(stage: str) -> None:
    """Waits until no other process is at work on this stage in this folder, and keeps others waiting.

    When `dvc` is killed its child lives on, and the next `dvc repro` starts another: two would write the
    same files. The first may be of older params, so the second has to write after it.
    """
    from filelock import FileLock, Timeout

    folder = Path(".dvc", "tmp", "stages")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{stage}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"{stage}: another process is at work on it in this folder; waiting for it to end")
            lock.acquire()
    except OSError:
        return  # a folder that may not be written: the stage says so when it writes
    _held.append(lock)


def inputs(stage: str) -> list[str]:
    """The cached files that a stage reads and that are not what their own stage wrote, by dvc.lock.

    DVC itself trusts what it takes from its cache, and would not see a flipped bit there.
    """
    from ruamel.yaml import YAML

    try:
        # the fast parser is fit for this: dvc.lock is written by a machine
        locked = YAML(typ="safe").load(Path("dvc.lock").read_text(encoding="utf-8"))["stages"]
        made = {out["path"]: out.get("md5", "") for entry in locked.values() for out in entry.get("outs", [])}
        deps = [dep["path"] for dep in locked.get(stage, {}).get("deps", [])]
    except Exception:  # missing or damaged, which DVC has to say, or one of an older schema
        return []
    return [
        f"{path}: its md5 is not {made[path]}, as dvc.lock says"
        for path in deps
        if path in made and Path(path).is_file() and md5(path) != made[path]
    ]
