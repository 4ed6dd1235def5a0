"""Before a stage that DVC runs: is it alone, are its packages those recorded, its inputs those made?"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline import lockfile, packages
from pipeline.console import UserError, say
from pipeline.files import md5
from pipeline.identity import main_repository
from pipeline.params import read

BEGAN = time.time()  # of this process
TRAINS = "train_"  # stages that are tracked while they run
FIRST = ("check_params", "record_packages")  # they come before there is anything to compare with
_held: list[Any] = []  # locks, until the process ends


def stand() -> None:
    """Waits for whoever is at work on the same stage.

    Raises:
        UserError: something is amiss.
    """
    stage = os.environ.get("DVC_STAGE", "")
    if not stage:
        return
    home = Path(__file__).resolve().parent.parent
    if home != Path.cwd().resolve():
        raise UserError(
            f"the code that would run is that of {home}, and this is {Path.cwd()}\n"
            "  Unset PYTHONSAFEPATH: a stage runs the code beside it."
        )
    alone(stage)
    if stage in FIRST:
        return
    if changed := packages.changed():
        raise UserError(
            "the installed packages are not those that data/packages records:\n  "
            + "\n  ".join(changed)
            + "\n  `make repro` records what is installed, and reruns what depends on it;"
            + "\n  `pip install -c constraints.txt -e .` brings the pinned packages back."
        )
    if damaged := inputs(stage):
        raise UserError(
            f"{stage} would read what no stage wrote:\n  "
            + "\n  ".join(damaged)
            + "\n  `make doctor` finds what is damaged, in DVC's cache too, and mends it."
        )
    if stage.startswith(TRAINS):
        from pipeline.tracking import OFF, start_tracker, tracking_uri

        # it imports MLflow while this process imports torch, each on one core; a fault the stage will say
        if tracking_uri(root := main_repository()) != OFF:
            with suppress(OSError):
                start_tracker(root)


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
    try:
        made = lockfile.outputs(lockfile.entries())
    except (OSError, UserError):  # DVC has to say it
        return []
    made = lockfile.files(made, main_repository() / lockfile.CACHE)
    read = declared(stage)
    return [
        f"{path}: its md5 is not {sum_}, as dvc.lock says"
        for path, sum_ in made.items()
        if any(path == dep or path.startswith(f"{dep}/") for dep in read)
        and Path(path).is_file()
        and md5(path) != sum_
    ]


def stages() -> list[str]:
    """The names of all stages of dvc.yaml, which `dvc repro` goes through; each member of a matrix is one."""
    params = read()
    names = []
    for name, entry in _dvc_yaml().items():
        if "foreach" in entry:
            members: Iterable[Any] = entry["foreach"]
        elif "matrix" in entry:
            (of,) = entry["matrix"].values()
            members = params[of.strip("${}")] if isinstance(of, str) else of
        else:
            names.append(name)
            continue
        names += [f"{name}@{member}" for member in members]
    return names


def declared(stage: str) -> list[str]:
    """The deps of a stage in dvc.yaml. DVC's own answer would cost each stage a second."""
    name, _, member = stage.partition("@")
    entry = _dvc_yaml().get(name, {})
    items = entry.get("foreach", {})
    item = items.get(member, member) if isinstance(items, dict) else member
    deps = entry.get("do", entry).get("deps", [])
    return [re.sub(r"\$\{(key|item\.\w+)\}", member, dep).replace("${item}", str(item)) for dep in deps]


def _dvc_yaml() -> dict[str, Any]:
    from ruamel.yaml import YAML

    return dict(YAML(typ="safe").load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"])
