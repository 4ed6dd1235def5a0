"""Locks of stages: one process at a time in a folder, and one training at a time on equal inputs.

Of processes that train on the same inputs, one trains and the others copy its outputs. DVC cannot do this:
experiments run in folders of their own, and outputs enter the run cache only when a stage has ended. Nor does
DVC keep outputs when it is killed before it has recorded them: it removes the files and runs the stage again,
which finds a copy here. A process that did not wait always trains, so `--force` has its effect.
"""

import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from workflow.core.errors import UserError
from workflow.core.files import md5, read_json, write_json
from workflow.runs.checkpoints import Checkpoints
from workflow.runs.console import say
from workflow.runs.identity import Inputs, main_repository, read_inputs
from workflow.runs.lockfile import LOCK

PROCESS_STARTED_AT = time.time()
KEEP_SECONDS = 600.0  # for a shared result
ABOUT = "about.json"
_held: list[FileLock] = []  # until the process ends


def acquire_stage_lock(stage: str) -> None:
    """Waits until no other process runs this stage in this folder, and makes others wait.

    When `dvc` is killed, its child lives on, and the next `dvc repro` starts another: both would write the
    same files. The first may have older params, so the second has to write after it.
    """
    folder = Path(".dvc", "tmp", "stages")
    with suppress(OSError):  # a read-only folder: the stage reports it when it writes
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{stage}.lock")
        acquire(lock, f"{stage}: another process runs this stage in this folder; waiting for it to end")
        _held.append(lock)


def acquire(lock: FileLock, message: str) -> bool:
    """Acquires a lock; returns whether another process had it, and if so writes `message` before it waits."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(message)
        lock.acquire()
        return True
    return False


@contextmanager
def shared_result(stage: str) -> Iterator[tuple[Inputs, bool]]:
    """Waits until no other process trains on the same inputs, here or in an experiment.

    Yields what the stage reads, and whether another process has made its outputs, which are then in place.
    When the process with the lock is killed, the next one gets it, and trains.
    """
    inputs = read_inputs(stage)
    root = main_repository()
    copy = _folder(root) / inputs.digest
    lock = training_lock(root, inputs.digest)
    acquire(lock, f"{stage}: another process trains on the same inputs; waiting for its outputs")
    try:
        if source := _source(copy, inputs.outputs):
            for output in inputs.outputs:
                _copy(copy / output, Path(output))
            say(f"{stage}: outputs copied from {source}")
        else:
            shutil.rmtree(copy, ignore_errors=True)
        yield inputs, bool(source)
        if source or _share(inputs, copy):
            Checkpoints(inputs).clear()
    finally:
        lock.release()


def training_lock(root: Path, digest: str) -> FileLock:
    """The lock of the process that trains on inputs of this digest; it is free when the process ends."""
    _folder(root).mkdir(parents=True, exist_ok=True)
    return FileLock(_folder(root) / f"{digest}.lock")


def remove_old_results(root: Path) -> None:
    """Removes shared results that no process waits for any more."""
    for copy in [path for path in _folder(root).glob("*") if path.is_dir()]:
        with suppress(Timeout, OSError), training_lock(root, copy.name[:32]).acquire(timeout=0):
            if copy.stat().st_mtime < time.time() - KEEP_SECONDS:
                shutil.rmtree(copy, ignore_errors=True)


def _source(copy: Path, outputs: Iterable[str]) -> str:
    """Who made this shared result, if it is complete and this process may use it; else empty."""
    try:
        made_at, about, here = copy.stat().st_mtime, read_json(copy / ABOUT), str(Path.cwd())
        if made_at >= PROCESS_STARTED_AT:  # this process waited for it
            source = "another process with the same inputs"
        # DVC writes dvc.lock after each stage that has run
        elif "DVC_STAGE" in os.environ and about["folder"] == here and LOCK.stat().st_mtime < made_at:
            source = "a run that was killed before DVC recorded it"
        else:
            return ""
        return source if all(md5(copy / output) == about["md5"][output] for output in outputs) else ""
    except (OSError, UserError, KeyError, TypeError):
        return ""


def _share(inputs: Inputs, copy: Path) -> bool:
    """Keeps a copy of the outputs for processes that wait, and for the next run if DVC is killed now."""
    unfinished = copy.with_name(f"{copy.name}.{os.getpid()}")
    try:
        for output in inputs.outputs:
            _copy(Path(output), unfinished / output)
        sums = {output: md5(output) for output in inputs.outputs}
        write_json(unfinished / ABOUT, {"folder": str(Path.cwd()), "md5": sums})
        unfinished.rename(copy)
    except OSError:  # the disk is full: the outputs are kept, and so is the checkpoint
        shutil.rmtree(unfinished, ignore_errors=True)
        return False
    return True


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _folder(root: Path) -> Path:
    return root / ".dvc" / "tmp" / "results"
