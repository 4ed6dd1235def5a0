"""Of processes that train on the same inputs at once, one trains and the others take its files.

DVC cannot do this: two experiments run in two folders, and what one has trained comes into the run cache
after the other has begun. Nor does DVC keep what a stage wrote when it is killed before it has recorded that:
it removes the files, and runs the stage again, which finds them here. Whoever else begins when nobody is at
work trains, so `--force` means what it says.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import guard
from pipeline.checkpoints import Checkpoints
from pipeline.console import UserError, say
from pipeline.files import md5, read_json, write_json
from pipeline.identity import Inputs, inputs, main_repository
from pipeline.lockfile import LOCK

if TYPE_CHECKING:
    from filelock import FileLock


OFFERED = 600.0  # seconds for which files are kept for those who wait
ABOUT = "offer.json"


@dataclass(frozen=True)
class Turn:
    """A process's turn at a stage.

    Attributes:
        of: what the stage read.
        taken: another process has made the outputs; they are in place.
    """

    of: Inputs
    taken: bool


@contextmanager
def turn(stage: str) -> Iterator[Turn]:
    """Waits until no other process works on this stage with the same inputs, here or in an experiment.

    A process that is killed gives its turn to the next, which then trains.
    """
    from filelock import Timeout

    of = inputs(stage)
    root = main_repository()
    lock = turn_lock(root, of.digest)
    offer = _folder(root) / of.digest
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"{stage}: another process is at work on the same inputs; waiting for its files")
        lock.acquire()
    try:
        who = _whose(offer, of.outputs)
        if who:
            for output in of.outputs:
                _copy(offer / output, Path(output))
            say(f"{stage}: trained by {who}; its files are taken")
            yield Turn(of, taken=True)
            Checkpoints(of).clear()
            return
        shutil.rmtree(offer, ignore_errors=True)
        yield Turn(of, taken=False)
        if _offer(of, offer):
            Checkpoints(of).clear()
    finally:
        lock.release()


def turn_lock(root: Path, digest: str) -> FileLock:
    """The lock of whoever works on inputs of this digest; a killed process loses it."""
    from filelock import FileLock

    _folder(root).mkdir(parents=True, exist_ok=True)
    return FileLock(_folder(root) / f"{digest}.lock")


def clear(root: Path) -> None:
    """Removes the offers that nobody waits for any more."""
    from filelock import Timeout

    old = time.time() - OFFERED
    for offer in [path for path in _folder(root).glob("*") if path.is_dir()]:
        with contextlib.suppress(Timeout, OSError), turn_lock(root, offer.name[:32]).acquire(timeout=0):
            if offer.stat().st_mtime < old:
                shutil.rmtree(offer, ignore_errors=True)


def _whose(offer: Path, outputs: Iterable[str]) -> str:
    """By whom these files were made, if they are whole and for this process to take; else empty."""
    try:
        made, about = offer.stat().st_mtime, read_json(offer / ABOUT)
        if made >= guard.BEGAN:  # while it was there to wait for them
            who = "another process on the same inputs"
        # DVC writes dvc.lock after each stage that has run
        elif "DVC_STAGE" in os.environ and about["folder"] == str(Path.cwd()) and LOCK.stat().st_mtime < made:
            who = "a run that ended before DVC had recorded it"
        else:
            return ""
        return who if all(md5(offer / output) == about["md5"][output] for output in outputs) else ""
    except (OSError, UserError, KeyError, TypeError):
        return ""


def _offer(of: Inputs, offer: Path) -> bool:
    """Keeps a copy of the outputs for those who wait, and for the next run, should DVC be killed now."""
    made = offer.with_name(f"{offer.name}.{os.getpid()}")
    try:
        for output in of.outputs:
            _copy(Path(output), made / output)
        sums = {output: md5(output) for output in of.outputs}
        write_json(made / ABOUT, {"folder": str(Path.cwd()), "md5": sums})
        made.rename(offer)
    except OSError:  # a full disk must not cost what has just been trained: its checkpoint stays
        shutil.rmtree(made, ignore_errors=True)
        return False
    return True


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _folder(root: Path) -> Path:
    return root / ".dvc" / "tmp" / "turns"
