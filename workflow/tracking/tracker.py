"""The process that uploads the journals of trainings to MLflow while they grow; `tracking.live` starts it.

There is one for each store of a clone. It ends after some idle time, or when the project's folder is gone.
"""

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from workflow.runs.identity import Inputs, main_repository
from workflow.tracking.live import explain, journal_folder, lock_file, start_tracker
from workflow.tracking.store import Store

if TYPE_CHECKING:  # slow to import
    from mlflow.entities import Run, RunInfo

IDLE_TIME = 20.0  # seconds without a journal, after which the tracker ends
POLL_INTERVAL = 0.5
DRAIN_TIMEOUT = 60.0  # seconds that `make track` waits for a tracker
NICENESS = 10  # importing MLflow must not slow a training down


class Journal:
    """A journal as far as it has been read, and its run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open(encoding="utf-8")
        first = json.loads(self.file.readline())  # the file appears together with this line
        self.start, self.started_at = first["start"], int(first["time"])
        inputs = self.start["inputs"]
        self.inputs = Inputs(**(inputs | {"outputs": tuple(inputs["outputs"])}))
        self.incomplete_line = ""
        self.run: Run | None = None  # as it was before this training
        self.done = False  # ended or failed

    def upload(self, store: Store, ended: bool) -> None:
        """Uploads new records. A process that has ended without writing a status was killed."""
        *lines, self.incomplete_line = (self.incomplete_line + self.file.read()).split("\n")
        records = [json.loads(line) for line in lines]
        self.run = self.run or self._start_run(store)
        rows = [(record["time"], record["metrics"]) for record in records if "metrics" in record]
        store.log_rows(self.run, rows)
        if ended:
            records.append({"status": "KILLED", "time": int(self.path.stat().st_mtime * 1000)})
        for end in [record for record in records if "status" in record][:1]:
            store.end(self.run, end["status"], self._end_time(self.run.info, end["time"]))
            self.done = True

    def _start_run(self, store: Store) -> "Run":
        tags = {**self.start["tags"], "host": store.owner}
        run = store.run(self.inputs, self.started_at, **(self.start["commit_tags"] | tags))
        store.set_tags(run, tags)
        store.set_experiments(run, [self.start["experiment"]], keep=True)
        store.client.update_run(run.info.run_id, status="RUNNING")
        return run

    def _end_time(self, info: "RunInfo", ended_at: int) -> int:
        """The end that makes the run's duration that of its trainings. MLflow cannot change a start."""
        before = info.end_time or info.start_time
        if info.start_time == self.started_at:
            return ended_at
        if info.status == "FINISHED" and before > info.start_time:  # trained again: the first duration stays
            return int(before)
        return int(before) + ended_at - self.started_at  # continued after a kill, or made from files before


def has_ended(path: Path) -> bool:
    """Whether the process of a journal has ended; False if the journal has been uploaded and removed."""
    with suppress(FileNotFoundError):
        if file := lock_file(path, "r+"):
            file.close()
            return True
    return False


class Tracker:
    """Uploads the journals of a folder."""

    def __init__(self, folder: Path, store: Store | None = None) -> None:
        self.folder = folder
        self.store = store
        self.journals: dict[Path, Journal] = {}
        self.failed = False
        self.database: IO[bytes] | None = None

    def database_replaced(self) -> bool:
        """Whether the store's file has been deleted, and perhaps created again."""
        path = self.store.database if self.store else None
        if path is None:
            return False
        with suppress(FileNotFoundError):
            # never closed: closing any handle of the file would release SQLite's own locks
            self.database = self.database or path.open("rb")
            return not os.path.samestat(os.fstat(self.database.fileno()), path.stat())
        return True

    def waiting(self) -> list[Path]:
        """The journals that are there, the oldest first."""
        return sorted(self.folder.glob("*.jsonl"))

    def upload(self, *, ended_only: bool = False) -> bool:
        """Uploads all that is new, and removes journals that have ended; returns whether there were any."""
        digests = set()
        for path in self.waiting():
            digest, ended = path.stem.partition("-")[2], has_ended(path)
            if digest in digests or (ended_only and not ended):  # an earlier training of the run comes first
                continue
            digests.add(digest)
            try:
                journal = self.journals[path] = self.journals.get(path) or Journal(path)
            except (ValueError, KeyError, TypeError):  # cut off, or of another version of this project
                path.unlink(missing_ok=True)
                continue
            try:
                if not journal.done:
                    self.store = self.store or Store()
                    journal.upload(self.store, ended)
            except Exception as error:  # whatever MLflow, its database or its server raises
                journal.done = self.failed = True
                with suppress(OSError):
                    path.with_suffix(".fault").write_text(explain(error, journal.inputs.stage), "utf-8")
            if ended:
                path.unlink(missing_ok=True)
                self.journals.pop(path).file.close()
        return bool(digests)


def serve(root: Path) -> None:
    """Uploads journals until none has come for `IDLE_TIME`."""
    folder = journal_folder(root)
    while (lock := lock_file(folder / "lock")) is not None:
        with lock:
            tracker = Tracker(folder)
            active_at = time.monotonic()
            # after a failure it ends at once: a user who repairs it may set another environment
            while tracker.waiting() or (not tracker.failed and time.monotonic() - active_at < IDLE_TIME):
                if not os.path.samestat(os.fstat(lock.fileno()), (folder / "lock").stat()):
                    return
                if tracker.database_replaced():  # MLflow would go on writing to the deleted file
                    os.execv(sys.executable, sys.orig_argv)
                if tracker.upload():
                    active_at = time.monotonic()
                time.sleep(POLL_INTERVAL)
        if not tracker.waiting():  # otherwise a stage came meanwhile, and found the lock taken
            return


def drain(store: Store) -> None:
    """Waits until the journals of trainings that have ended are uploaded, or uploads them."""
    folder = journal_folder(store.root)
    tracker = Tracker(folder, store)
    deadline = time.monotonic() + DRAIN_TIMEOUT
    while time.monotonic() < deadline and any(map(has_ended, tracker.waiting())):
        if (lock := lock_file(folder / "lock")) is not None:
            with lock:
                tracker.upload(ended_only=True)
        time.sleep(POLL_INTERVAL / 5)
    if tracker.waiting():  # of trainings that continue, and whose tracker may have been killed
        start_tracker(store.root)


def main() -> None:
    os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    with suppress(FileNotFoundError):  # the folder is gone
        serve(main_repository())


if __name__ == "__main__":
    main()
