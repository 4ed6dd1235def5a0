"""The process that brings the journals of trainings to MLflow, beside them; `pipeline.tracking` starts it.

There is one for each store, of this clone. It leaves when it has had nothing to do for a while, and when the
project's folder is gone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from pipeline.identity import Inputs, main_repository
from pipeline.store import Store, import_mlflow
from pipeline.tags import named, names
from pipeline.tracking import acquire, fault, journals, start_tracker, tracker_lock

IDLE = 20.0  # seconds
POLL = 0.5
DRAIN = 60.0  # seconds that `make track` waits for a tracker
# MLflow's import may take time from a training, but little of it
NICE = 10


class Journal:
    """A journal as far as it is read, and the run that it is of."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open(encoding="utf-8")
        first = json.loads(self.file.readline())  # the file came with it
        self.begin, self.began = first["begin"], int(first["time"])
        of = self.begin["of"]
        self.of = Inputs(**(of | {"outputs": tuple(of["outputs"])}))
        self.line = ""  # one that is still being written
        self.run_id = ""
        self.steps: dict[str, dict[int, float]] = {}
        self.ended = self.failed = False

    def bring(self, store: Store, killed: bool) -> None:
        """Brings to the store what has been written since.

        Args:
            killed: its process has ended, and what it did not write will not come.
        """
        *lines, self.line = (self.line + self.file.read()).split("\n")
        records = [json.loads(line) for line in lines]
        if not self.run_id:
            self._begin(store)
        if rows := [record for record in records if "row" in record]:
            times = [record["time"] for record in rows]
            store.log_rows(self.run_id, [record["row"] for record in rows], self.steps, times=times)
        end = next((record for record in records if "end" in record), None)
        if end is None and killed:
            end = {"end": "KILLED", "time": int(self.path.stat().st_mtime * 1000)}
        if end is not None:
            store.end(self.run_id, end["end"], self._end(end["time"]))
            self.ended = True

    def _begin(self, store: Store) -> None:
        tags = {**self.begin["about"], "host": store.owner}
        run_id = store.run_id(self.of, self.begin["head"] | tags, self.began)
        self.known = store.client.get_run(run_id).info
        for key, value in tags.items():
            store.tag(run_id, key, value)
        store.client.update_run(run_id, status="RUNNING")
        if experiment := self.begin["experiment"]:
            with store.lock:
                known = store.client.get_run(run_id).data.tags.get("experiments", "")
                store.tag(run_id, "experiments", names({experiment, *named(known)}))
        self.steps = store.steps(run_id)
        self.run_id = run_id

    def _end(self, when: int) -> int:
        """The end to give the run, so that its duration is that of its training.

        Of a run that was there before, nobody can change the start.
        """
        start, end = self.known.start_time, self.known.end_time or self.known.start_time
        if start == self.began:
            return when
        if self.known.status == "FINISHED" and end > start:  # trained again: it stays when it was first
            return int(end)
        return int(end) + when - self.began  # it goes on after a kill, or what came without its training


def gone(path: Path) -> bool:
    """Whether a journal is there whose process has ended."""
    try:
        with path.open("r+", encoding="utf-8") as file:
            return acquire(file)
    except FileNotFoundError:  # it has been brought
        return False


class Tracker:
    """Reads all journals of a folder, in passes."""

    def __init__(self, folder: Path, store: Store | None = None) -> None:
        self.folder = folder
        self.store = store
        self.read: dict[Path, Journal] = {}
        self.opened: IO[bytes] | None = None
        self.failed = False

    def waiting(self) -> list[Path]:
        """The journals that are there, the oldest first."""
        return sorted(self.folder.glob("*.jsonl"))

    def turn(self, *, living: bool = True) -> int:
        """Brings all that is new to the store; returns how many journals there were to look at.

        Args:
            living: those of trainings that go on, too.
        """
        busy = set()
        for path in self.waiting():
            digest, ended = path.stem.partition("-")[2], gone(path)
            if digest in busy or not (ended or living):  # an earlier training of the same run comes first
                continue
            busy.add(digest)
            journal = self.read[path] = self.read.get(path) or Journal(path)
            if not journal.failed and not journal.ended:
                self._bring(journal, ended)
            if ended:
                path.unlink(missing_ok=True)
                self.read.pop(path).file.close()
        return len(busy)

    def _bring(self, journal: Journal, ended: bool) -> None:
        try:
            self.store = self.store or Store()
            journal.bring(self.store, ended)
        except Exception as error:  # whatever MLflow, its database or its server comes up with
            journal.failed = self.failed = True
            with suppress(OSError):
                said = fault(journal.of.stage, error)
                journal.path.with_suffix(".fault").write_text(said, encoding="utf-8")

    def replaced(self) -> bool:
        """Whether the database that this process has open has been deleted, and perhaps made anew."""
        database = self.store.database if self.store else None
        if database is None:
            return False
        with suppress(FileNotFoundError):
            # never closed: that would take SQLite's own locks away
            self.opened = self.opened or database.open("rb")
            return not os.path.samestat(os.fstat(self.opened.fileno()), database.stat())
        return True


def serve(root: Path) -> None:
    """Brings journals to the store until none has come for a while."""
    folder = journals(root)
    while (lock := tracker_lock(folder)) is not None:
        with lock:
            tracker = Tracker(folder)
            with suppress(Exception):  # what is wrong with it, the first training says
                import_mlflow()
            busy = time.monotonic()
            # a failure is not waited after: whoever mends it may have set another variable
            while tracker.waiting() or (not tracker.failed and time.monotonic() - busy < IDLE):
                if not os.path.samestat(os.fstat(lock.fileno()), (folder / "lock").stat()):
                    return
                if tracker.replaced():  # MLflow would go on with the old one
                    os.execv(sys.executable, [sys.executable, "-m", "pipeline.tracker", str(root)])
                if tracker.turn():
                    busy = time.monotonic()
                time.sleep(POLL)
        if not tracker.waiting():  # else of a stage that saw the lock taken
            return


def drain(root: Path, store: Store) -> None:
    """Waits until the trainings that have ended are in the store, or brings them there."""
    folder = journals(root)
    if not folder.is_dir():
        return
    tracker = Tracker(folder, store)
    until = time.monotonic() + DRAIN
    while time.monotonic() < until and any(map(gone, tracker.waiting())):
        if (lock := tracker_lock(folder)) is not None:
            with lock:
                while tracker.turn(living=False):
                    pass
        time.sleep(POLL / 5)
    if tracker.waiting():  # of trainings that go on, and whose tracker may be gone
        start_tracker(root)


def main() -> None:
    os.setpriority(os.PRIO_PROCESS, 0, NICE)
    with suppress(FileNotFoundError):  # the folder is gone
        serve(main_repository())


if __name__ == "__main__":
    main()
