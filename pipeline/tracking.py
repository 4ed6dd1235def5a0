"""MLflow while a model trains. It only adds to what the files say: results never wait for it or need it.

Importing MLflow takes as long as a short training. So a stage writes what is to be known to a journal, and
one process beside the pipeline (`pipeline.tracker`) brings all journals of a store there.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from pipeline.console import Terminated, warn
from pipeline.files import digest
from pipeline.identity import Inputs, main_repository
from pipeline.tags import at_head

OFF = "none"


def tracking_uri(root: Path) -> str:
    """`MLFLOW_TRACKING_URI` with a relative SQLite path below `root`, or `mlflow.db` there.

    `none` switches tracking off, as for a reproduction whose folder is thrown away.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip() or "sqlite:///mlflow.db"
    relative = uri.removeprefix("sqlite:///")
    if uri != relative and not relative.startswith("/"):
        return f"sqlite:///{root / relative}"
    return uri


def journals(root: Path) -> Path:
    """The folder of the journals on their way to the store; an address may hold a password, a digest none."""
    return root / ".dvc" / "tmp" / "tracking" / digest(tracking_uri(root).encode())


def start_tracker(root: Path) -> subprocess.Popen[bytes] | None:
    """Starts the store's tracker, unless one is at work. It outlives the stage; Ctrl-C does not reach it."""
    folder = journals(root)
    folder.mkdir(parents=True, exist_ok=True)
    lock = tracker_lock(folder)
    if lock is None:
        return None
    lock.close()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DVC_")}
    environment |= {"DVC_ROOT": str(root), "MLFLOW_TRACKING_URI": tracking_uri(root)}
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.tracker", str(root)],
        cwd=root,  # the folder of an experiment vanishes at its end
        env=environment,
        # whoever reads a pipe from `dvc repro` waits until all have closed it
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,  # not a session: where those share the processor evenly, `nice` is of no use
    )


def tracker_lock(folder: Path) -> IO[str] | None:
    """The lock of the tracker that reads these journals, until it is closed; None: another process has it."""
    file = (folder / "lock").open("a")
    if acquire(file):
        return file
    file.close()
    return None


def acquire(file: IO[str]) -> bool:
    """Locks a file, if no other process has; it is unlocked when it is closed, or its process ends."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def say_faults(folder: Path) -> None:
    """Says what failed after its stage had ended."""
    for path in sorted(folder.glob("*.fault")):
        if not path.with_suffix(".jsonl").exists():  # else the stage says it
            _say(path)


def _say(fault: Path) -> None:
    try:
        warn(fault.read_text(encoding="utf-8"))
        fault.unlink()
    except FileNotFoundError:  # another was faster
        pass


def fault(stage: str, error: Exception) -> str:
    """What is said of a run that MLflow does not take."""
    return (
        f"MLflow is not tracking {stage}: {cause(error)}\n"
        "  Results are not affected; `make track` completes the run later."
    )


def cause(error: Exception) -> str:
    """What went wrong between here and MLflow, and what to do where that is known."""
    text = " ".join(str(error).split())
    host = urlsplit(os.environ.get("MLFLOW_TRACKING_URI", "")).netloc.rpartition("@")[2]
    if "Invalid Host header" in text:  # mlflow #22095
        return (
            f"the server does not take {host} for its name; "
            f"start it with `--allowed-hosts '{host},localhost:*'`"
        )
    if "error code 403" in text and text.endswith("Response body: ''"):  # mlflow #5673
        return (
            f"{host} answers 403 and says nothing, so it is no MLflow server (AirPlay of macOS takes "
            "port 5000); set MLFLOW_TRACKING_URI to the server's address, or unset it"
        )
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
    return f"{type(error).__name__}: {text[:200]}"


class Live:
    """The journal of one training. It is locked while its process lives, so that a killed one is known."""

    def __init__(self, of: Inputs, about: Mapping[str, str]) -> None:
        self.of = of
        self.status = "FINISHED"
        self.root = main_repository()
        folder = journals(self.root)
        self.path = folder / f"{time.time_ns()}-{of.digest}.jsonl"
        self.file: IO[str] | None = None
        self.tracker: subprocess.Popen[bytes] | None = None
        if tracking_uri(self.root) == OFF:
            return
        with self._guarded():
            folder.mkdir(parents=True, exist_ok=True)
            say_faults(folder)
            hidden = folder / f".{self.path.name}.{os.getpid()}.tmp"
            self.file = hidden.open("w", encoding="utf-8")
            acquire(self.file)
            experiment = os.environ.get("DVC_EXP_NAME", "")
            begin = {"of": dataclasses.asdict(of), "about": dict(about), "head": at_head()}
            self._write({"begin": begin | {"experiment": experiment}})
            hidden.rename(self.path)
            self.tracker = start_tracker(self.root)

    def log(self, row: Mapping[str, Any]) -> None:
        """Takes one epoch's metrics; `epoch` is their step."""
        with self._guarded():
            self._write({"row": dict(row)})

    def finish(self) -> None:
        """Says how the training ended, and what MLflow has failed in; it waits for nothing."""
        with self._guarded():
            self._write({"end": self.status})
            if self.file is not None:
                _say(self.path.with_suffix(".fault"))
                self.file.close()
                if self.tracker is None or self.tracker.poll() is not None:  # it may have been killed
                    start_tracker(self.root)

    def _write(self, record: Mapping[str, Any]) -> None:
        if self.file is not None:
            record = {**record, "time": int(time.time() * 1000)}
            self.file.write(json.dumps(record) + "\n")
            self.file.flush()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # a full disk, say: training goes on
            self.file = None
            warn(fault(self.of.stage, error))


@contextmanager
def live(of: Inputs, about: Mapping[str, str], rows: Iterable[Mapping[str, Any]] = ()) -> Iterator[Live]:
    """Tracks a training stage in its MLflow run; leaves it FINISHED, FAILED, or KILLED by Ctrl-C or SIGTERM.

    Args:
        about: tags, such as what the data are.
        rows: of the epochs before this process went on; the store may lack the last of them.
    """
    tracker = Live(of, about)
    for row in rows:
        tracker.log(row)
    try:
        yield tracker
    except (KeyboardInterrupt, Terminated):
        tracker.status = "KILLED"
        raise
    except BaseException:
        tracker.status = "FAILED"
        raise
    finally:
        tracker.finish()
