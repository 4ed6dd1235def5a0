"""What a person sees: one clear message instead of a traceback, a bar on a terminal, lines in a log."""

import errno
import getpass
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn, TypeVar

from workflow.core.errors import UserError

T = TypeVar("T")
# seconds without a line, after which `watch` writes one; `make repro` adds those between stages
SILENCE = 10.0
NAMELESS = f"uid-{os.getuid()}"  # the USER of an id without a name, here and in the Makefile
BROKEN_PIPE = 128 + signal.SIGPIPE  # exit code
_last_line_at = [0.0]
_position: list[str] = []  # what `progress` works on now


class Terminated(BaseException):
    """Raised by SIGTERM. Like KeyboardInterrupt, it is caught only where the program exits."""


def wrote() -> None:
    """Notes that a line is being written, for `watch`."""
    _last_line_at[0] = time.monotonic()


def say(message: str) -> None:
    """Writes one line to standard error, above a progress bar if there is one."""
    wrote()
    if sys.stderr.isatty():
        from tqdm import tqdm

        tqdm.write(message, file=sys.stderr)
    else:
        print(message, file=sys.stderr, flush=True)


def warn(message: str) -> None:
    """Writes a warning that stands out from the lines around it."""
    say(f"WARNING: {message}")


def progress(items: Iterable[T], *, total: int, label: str, unit: str, done: int = 0) -> Iterable[T]:
    """Iterates over `items`, with a progress bar on a terminal; in a log, `watch` writes the position.

    Args:
        unit: what an item is, in the singular. An item that is a string names the part that starts now; any
            other one has just been computed.
        done: how many of `total` were done before.
    """
    items = _record_position(items, total, unit, done)
    if not sys.stderr.isatty():
        return items
    from tqdm import tqdm

    return tqdm(items, total=total, initial=done, desc=label, unit=unit, leave=False, dynamic_ncols=True)


def _record_position(items: Iterable[T], total: int, unit: str, done: int) -> Iterator[T]:
    started_at = time.monotonic()
    _position[:] = [f"{unit} {done + 1} of {total}"]
    for number, item in enumerate(items, done + 1):
        if isinstance(item, str):
            _position[:] = [f"{unit} {number} of {total}, {item}"]
        elif number < total:
            left = (time.monotonic() - started_at) / (number - done) * (total - number)
            _position[:] = [f"{unit} {number + 1} of {total}, about {max(1, round(left))} s left"]
        yield item
    _position.clear()


@contextmanager
def watch(
    name: str, silence: float | None = None, others: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Inside, writes what is being done whenever no line was written for some seconds.

    Args:
        silence: seconds, by default `SILENCE`.
        others: whether another process that writes lines of its own is at work.
    """
    started_at = _last_line_at[0] = time.monotonic()
    finished = threading.Event()
    seconds = silence or SILENCE

    def report() -> None:
        while not finished.wait(max(0.05, _last_line_at[0] + seconds - time.monotonic())):
            if others():
                wrote()
            elif time.monotonic() >= _last_line_at[0] + seconds:
                say(", ".join([f"{name}: running for {time.monotonic() - started_at:.0f} s", *_position]))

    threading.Thread(target=report, daemon=True).start()
    try:
        yield
    finally:
        finished.set()


def run(main: Callable[[], None]) -> NoReturn:
    """Runs a program's main and exits: 0, or 1 with one message for what the user can repair.

    On Ctrl-C it exits with 130, on SIGTERM with 143, and with 141 where the reader of its output has left, as
    `head` does. Any other exception is a defect and keeps its traceback.
    """
    _complete_environment()
    code: str | int | None = 0
    try:
        raise_on_signals()
        main()
        sys.stdout.flush()
    except SystemExit as leave:
        code = leave.code
    except KeyboardInterrupt:
        code = _report_signal(signal.SIGINT)
    except Terminated:
        code = _report_signal(signal.SIGTERM)
    except BrokenPipeError:
        code = BROKEN_PIPE
    except Exception as error:
        if (message := _message(error)) is None:
            raise
        code = f"error: {message}"
    exit_on_signals()  # Python's own exit takes a moment, too
    if isinstance(code, str):
        with suppress(OSError):
            print(code, file=sys.stderr)
        code = 1
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:  # Python would try again when it exits, and report that
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
            code = code or BROKEN_PIPE
    sys.exit(code)


def _message(error: Exception) -> str | None:
    """What the user can do about an error; None: it is a defect."""
    from workflow.runs.worktree import explain  # most programs need it never

    with suppress(OSError):  # the working directory is gone
        if explained := explain(error):
            return str(explained)
    if isinstance(error, UserError):
        return str(error)
    if not isinstance(error, OSError):
        return None
    # some libraries raise a PermissionError with a text of their own and no number
    number = errno.EACCES if error.errno is None and isinstance(error, PermissionError) else error.errno
    if number not in _REMEDIES and not error.filename:
        return None
    where = f": {error.filename}" if error.filename else ""
    remedy = _REMEDIES.get(number or 0, "`make doctor` looks at what is wrong here.")
    return f"{error.strerror or error}{where}\n  {remedy}"


def _complete_environment() -> None:
    """Gives the process what a container or a service may not: a user's name and home, stdout and stderr."""
    try:
        getpass.getuser()
    except (KeyError, OSError):  # DVC and MLflow need one
        os.environ["USER"] = NAMELESS
    try:
        Path.home()
    except RuntimeError:  # DVC needs one
        os.environ["HOME"] = "/"
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115


def raise_on_signals() -> None:
    """Makes SIGINT and SIGTERM raise an exception where the program is, so that it cleans up."""
    signal.signal(signal.SIGTERM, _raise_terminated)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def exit_on_signals() -> None:
    """Makes SIGINT and SIGTERM exit with one line while a program imports, which takes seconds."""

    def leave(number: int, _frame: FrameType | None) -> None:
        # not by an exception: in the middle of an import it comes out as another
        os._exit(_report_signal(number))

    for number in _SIGNALS:
        signal.signal(number, leave)


def _report_signal(number: int) -> int:
    """Reports a signal; returns the exit code."""
    # not by print, which a signal may have interrupted
    os.write(2, f"{_SIGNALS[number]}; {_KEPT}\n".encode())
    return 128 + number


def _raise_terminated(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


_KEPT = "results of earlier stages are kept, and a training continues from its last checkpoint"
_SIGNALS: dict[int, str] = {signal.SIGINT: "interrupted", signal.SIGTERM: "stopped by SIGTERM"}
_NO_PERMISSION = "Give yourself the permission (ls -ld shows who has it), then run the command again."
_REMEDIES = {
    errno.EACCES: _NO_PERMISSION,
    errno.EPERM: _NO_PERMISSION,
    errno.EROFS: "The file system is read-only: clone the project to a place where you may write.",
    errno.ENOSPC: "The disk is full: free some space, then run the command again.",
    errno.EDQUOT: "Your disk quota is used up: free some space, then run the command again.",
    errno.EFBIG: "The file would exceed a size limit (ulimit -f): raise it, then run the command again.",
    errno.EIO: "The disk could not read or write it: it may be failing. Copy the project to another one.",
    errno.EEXIST: "Move it out of the way: the project needs this name for something else.",
    errno.ENOTDIR: "Move it out of the way: the project needs a folder here.",
    errno.EISDIR: "Move it out of the way: the project needs a file here.",
    errno.ENOENT: "An input is missing: `dvc repro` makes what is missing.",
}
