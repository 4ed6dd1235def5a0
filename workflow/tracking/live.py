"""The journal that a training writes for MLflow. A training never waits for MLflow, and does not need it.

Importing MLflow takes as long as a short training. So a stage only writes a journal, and one process beside
the pipeline (`workflow.tracking.tracker`) uploads all journals of a store.
"""

import dataclasses
import fcntl
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from workflow.core.errors import UserError
from workflow.core.files import digest
from workflow.runs.console import Terminated, warn
from workflow.runs.identity import Inputs, main_repository

OFF = "none"
# what to do about the HTTP status that a server answers
NO_MLFLOW = "it is not an MLflow server (AirPlay of macOS uses port 5000); correct MLFLOW_TRACKING_URI"
STATUSES = {
    401: "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    403: "you have no permission; ask the owner of the server for it",
    404: "no MLflow server is there, or one that is too old; correct MLFLOW_TRACKING_URI",
}
OTHER_STATUS = "the server's log says why; try again later"
# what an error's text says of a request without an answer that can be read
NO_ANSWER = {
    "not in a valid JSON format": "answers with a web page, perhaps a login; correct MLFLOW_TRACKING_URI",
    "timed out|timeout exception": "does not answer in time; see whether the server works, then try again",
    "refused": "refuses the connection; start the server, or correct MLFLOW_TRACKING_URI",
    "resolve": "is not known here; correct MLFLOW_TRACKING_URI",
    "certificate": "has a certificate that is not trusted; set REQUESTS_CA_BUNDLE to that of its authority",
    "aborted|reset by peer|disconnected|connection broken": "closes the connection; see the server's log",
}


def tracking_uri(root: Path) -> str:
    """`MLFLOW_TRACKING_URI`, by default `mlflow.db`; the path of a SQLite file is relative to `root`.

    `none` switches tracking off, as for a reproduction in a temporary folder.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip() or "sqlite:///mlflow.db"
    found = re.fullmatch(r"sqlite(\+pysqlite)?:///([^?]*)(.*)", uri)
    if not found:
        return uri
    driver, path, query = found.groups()
    # as in `sqlite:///$PWD/mlflow.db`, without escapes
    written = not driver and (root / path).parent.is_dir()
    path = str(root / (path if written else unquote(path)))
    escaped = path.replace("%", "%25").replace("?", "%3F")  # SQLAlchemy undoes it
    # MLflow makes the folder of an address without a driver, and does not undo it
    return f"sqlite{'+pysqlite' * (escaped != path)}:///{escaped}{query}"


def journal_folder(root: Path) -> Path:
    """The folder of the store's journals. Its name is a digest, since an address may hold a password."""
    return root / ".dvc" / "tmp" / "tracking" / digest(tracking_uri(root).encode())


def start_tracker(root: Path) -> None:
    """Starts the store's tracker, unless one runs. It outlives the stage; Ctrl-C does not reach it."""
    lock = lock_file(journal_folder(root) / "lock")
    if lock is None:
        return
    lock.close()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DVC_")}
    subprocess.Popen(
        [sys.executable, "-m", "workflow.tracking.tracker", str(root)],
        cwd=root,  # the folder of an experiment is removed at its end
        env=environment | {"DVC_ROOT": str(root), "MLFLOW_TRACKING_URI": tracking_uri(root)},
        # a reader of the output of `dvc repro` waits until all processes have closed it
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,  # not a session: `nice` has no effect where sessions share the processor evenly
    )


def lock_file(path: Path, mode: str = "a") -> IO[str] | None:
    """Locks a file until it is closed or the process ends; None if another process has locked it."""
    file: IO[str] = path.open(mode, encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def report_faults(root: Path, own: Path | None = None) -> None:
    """Reports what failed in MLflow for trainings that have ended, and for the one with the journal `own`."""
    for path in sorted(journal_folder(root).glob("*.fault")):
        journal = path.with_suffix(".jsonl")
        if journal == own or not journal.exists():
            with suppress(FileNotFoundError):  # another process was faster
                warn(path.read_text(encoding="utf-8"))
                path.unlink()


def explain(error: Exception, stage: str = "") -> str:
    """The message about a fault of MLflow, for the run of a stage or else for all runs."""
    what = f"MLflow is not tracking {stage}" if stage else "MLflow cannot be completed"
    when = "after that" if isinstance(error, UserError) else "later"  # after its own remedy
    return f"{what}: {reason(error)}\n  Results are not affected; `make track` completes MLflow {when}."


def reason(error: Exception) -> str:
    """What failed in MLflow: what happened, at which address, what to do. No web page, no password."""
    text = _without_password(" ".join(str(error).split()))
    address = _without_password(os.environ.get("MLFLOW_TRACKING_URI", ""))
    if isinstance(error, UserError):
        return text
    if "Invalid Host header" in text:  # mlflow #22095
        host = urlsplit(address).netloc
        return f"the server rejects its name {host}; start it with `--allowed-hosts '{host},localhost:*'`"
    if found := re.search(r"(?:error code|too many|^) ?([45]\d\d)\b", text):
        status = int(found[1])
        other = status == 403 and text.endswith("Response body: ''")  # mlflow #5673
        return f"{address} answers {status}: {NO_MLFLOW if other else STATUSES.get(status, OTHER_STATUS)}"
    if hasattr(error, "json"):  # a refusal by MLflow
        return f"{address} answers: {text[:200]}"
    for pattern, what in NO_ANSWER.items():
        if address and re.search(pattern, text, re.IGNORECASE):
            return f"{address} {what}"
    if isinstance(error, OSError) and error.strerror:
        text = ": ".join(map(str, filter(None, (error.strerror, error.filename))))
    return f"{type(error).__name__}: {text[:200]}"


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//", text)


def git_output(*arguments: str) -> str:
    """The output of a git command; empty outside git, or where git is missing."""
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def commit_tags(commit: str = "") -> dict[str, str]:
    """Tags of the commit that holds a run's result; without one, of HEAD, and that the result is dirty."""
    dirty, commit = not commit, commit or git_output("rev-parse", "HEAD")
    tags = {"git_commit": commit, "git_dirty": str(dirty).lower(), "mlflow.source.git.commit": commit}
    return tags if commit else {}


class LiveRun:
    """The journal of one training. Its process holds a lock on it, which shows whether it was killed."""

    def __init__(self, inputs: Inputs, tags: Mapping[str, str]) -> None:
        self.inputs = inputs
        self.root = main_repository()
        folder = journal_folder(self.root)
        self.path = folder / f"{time.time_ns()}-{inputs.digest}.jsonl"
        self.file: IO[str] | None = None
        if tracking_uri(self.root) == OFF:
            return
        with self._warn_on_error():
            folder.mkdir(parents=True, exist_ok=True)
            report_faults(self.root)
            temporary = folder / f".{self.path.name}.{os.getpid()}.tmp"
            self.file = lock_file(temporary)
            start = {"inputs": dataclasses.asdict(inputs), "tags": dict(tags), "commit_tags": commit_tags()}
            self._write(start=start | {"experiment": os.environ.get("DVC_EXP_NAME", "")})
            temporary.rename(self.path)
            start_tracker(self.root)

    def log(self, row: Mapping[str, Any]) -> None:
        """Logs one epoch's metrics; `epoch` is their step."""
        with self._warn_on_error():
            self._write(metrics=dict(row))

    def finish(self, status: str = "FINISHED") -> None:
        """Logs how the training ended, and reports what has failed in MLflow; it waits for nothing."""
        with self._warn_on_error():
            self._write(status=status)
            if self.file is not None:
                report_faults(self.root, self.path)
                self.file.close()
                start_tracker(self.root)  # the first one may have been killed

    def _write(self, **record: Any) -> None:
        if self.file is not None:
            self.file.write(json.dumps({**record, "time": int(time.time() * 1000)}) + "\n")
            self.file.flush()

    @contextmanager
    def _warn_on_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # for example a full disk: the training continues
            self.file = None
            warn(explain(error, self.inputs.stage))


@contextmanager
def live(inputs: Inputs, tags: Mapping[str, str], rows: Iterable[dict[str, Any]] = ()) -> Iterator[LiveRun]:
    """Tracks a training in its MLflow run, which ends FINISHED, FAILED, or KILLED by Ctrl-C or SIGTERM.

    `rows` are the epochs before this process resumed the training; the store may lack the last ones.
    """
    run = LiveRun(inputs, tags)
    for row in rows:
        run.log(row)
    status = "FAILED"
    try:
        yield run
        status = "FINISHED"
    except (KeyboardInterrupt, Terminated):
        status = "KILLED"
        raise
    finally:
        run.finish(status)
