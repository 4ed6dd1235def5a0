"""What a person sees: one clear message instead of a traceback, a bar on a terminal, lines in a log."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn, TypeVar

T = TypeVar("T")
SILENCE = 15.0  # seconds
_said_at = [0.0]  # when the last line was written
_now: list[str] = []  # what `progress` is at


class Terminated(BaseException):
    """SIGTERM came: like KeyboardInterrupt, nothing but the way out should catch it."""


class UserError(Exception):
    """Something that the user can mend: the message says what is wrong, where, and what to do."""


def damaged(path: Path | str, fault: object) -> UserError:
    """The error for a file that a stage wrote and that does not read as such."""
    return UserError(f"{path} is damaged ({fault}); delete it, and `dvc repro` makes it again")


def say(message: str) -> None:
    """Writes one line to standard error, above a progress bar if one is drawn."""
    _said_at[0] = time.monotonic()
    if sys.stderr.isatty():
        from tqdm import tqdm

        tqdm.write(message, file=sys.stderr)
    else:
        print(message, file=sys.stderr, flush=True)


def warn(message: str) -> None:
    """Writes a warning that stands out from the lines around it."""
    say(f"WARNING: {message}")


def progress(items: Iterable[T], *, total: int, label: str, unit: str, done: int = 0) -> Iterable[T]:
    """`items` behind a bar on a terminal; in a log the caller's lines are all, unless it is silent for long.

    Args:
        unit: what an item is, in the singular; items that are words are told by name.
        done: how many of `total` lie behind already.
    """
    told = _told(items, total, unit, done)
    if not sys.stderr.isatty():
        return told
    from tqdm import tqdm

    return tqdm(told, total=total, initial=done, desc=label, unit=unit, leave=False, dynamic_ncols=True)


def _told(items: Iterable[T], total: int, unit: str, done: int) -> Iterator[T]:
    """`items`; while the next one is being made, or is used, `_watch` knows which it is."""
    began = time.monotonic()
    number = done
    _now[:] = [f"{unit} {number + 1} of {total}"]
    for item in items:
        if isinstance(item, str):  # a part of the work that begins now; else one that was done meanwhile
            _now[:] = [f"{unit} {number + 1} of {total}, {item}"]
        number += 1
        yield item
        if not isinstance(item, str) and number < total:
            left = (time.monotonic() - began) / (number - done) * (total - number)
            _now[:] = [f"{unit} {number + 1} of {total}, about {max(1, round(left))} s left"]
    _now.clear()


@contextmanager
def _watch(name: str) -> Iterator[None]:
    """Meanwhile, whenever there was no line for `SILENCE` seconds, one says what is being done."""
    began = _said_at[0] = time.monotonic()
    over = threading.Event()

    def speak() -> None:
        while not over.wait(max(0.05, _said_at[0] + SILENCE - time.monotonic())):
            if time.monotonic() >= _said_at[0] + SILENCE:
                say(", ".join([f"{name}: at work for {time.monotonic() - began:.0f} s", *_now]))

    speaker = threading.Thread(target=speak, daemon=True)
    speaker.start()
    try:
        yield
    finally:
        over.set()


def run(main: Callable[[], None]) -> NoReturn:
    """Runs a stage's main and exits: 0, or 1 with one message for what the user can mend.

    On Ctrl-C it exits with 130, on SIGTERM with 143.

    Anything else is a defect of ours and keeps its traceback.
    """

    def with_signals() -> None:
        signal.signal(signal.SIGTERM, _stop)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        script = Path(sys.argv[0])
        if script.parent.name != "stages":
            main()
            return
        with _watch(os.environ.get("DVC_STAGE") or "@".join([script.stem, *sys.argv[1:]])):
            main()

    explained(with_signals)
    until_run()  # Python's own way out takes a moment, too
    raise SystemExit(0)


def until_run() -> None:
    """The same for signals that come while a program is still importing, which takes seconds."""

    def leave(number: int, _frame: FrameType | None) -> None:
        # not by an exception: in the middle of an import it comes out as another
        os._exit(_stopped(number))

    for number in _STOPPED:
        signal.signal(number, leave)


def explained(work: Callable[[], None]) -> None:
    """Does some work; exits with one message where the user can mend what went wrong."""
    try:
        work()
    except UserError as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise SystemExit(_stopped(signal.SIGINT)) from None
    except Terminated:
        raise SystemExit(_stopped(signal.SIGTERM)) from None
    except OSError as error:
        # some libraries raise a PermissionError of their own words, without a number
        number = errno.EACCES if error.errno is None and isinstance(error, PermissionError) else error.errno
        if number not in _REMEDIES and not error.filename:
            raise
        where = f": {error.filename}" if error.filename else ""
        remedy = _REMEDIES.get(number or 0, "`make doctor` looks at what is wrong here.")
        fail(f"{error.strerror or error}{where}\n  {remedy}")


def argument(what: str) -> str:
    """The one argument of a stage that stands for a member of a matrix.

    Raises:
        UserError: there is none, or there are several.
    """
    if len(sys.argv) != 2:
        raise UserError(f"give one argument: the {what}, by its name in params.yaml")
    return sys.argv[1]


def fail(message: str) -> NoReturn:
    """Prints `error: message` and exits with 1."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(1)


def _stopped(number: int) -> int:
    """Says that a signal came; returns the exit code."""
    code, word = _STOPPED[number]
    # not by print: a signal may come in the middle of another one
    os.write(2, f"{word}; {_KEPT}\n".encode())
    return code


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


_KEPT = "what earlier stages computed is kept, and a training goes on from its last checkpoint"
_STOPPED: dict[int, tuple[int, str]] = {
    signal.SIGINT: (130, "interrupted"),
    signal.SIGTERM: (143, "stopped by SIGTERM"),
}
_REMEDIES = {
    errno.EACCES: "Give yourself the permission (ls -ld tells who has it), then run the command again.",
    errno.EPERM: "Give yourself the permission (ls -ld tells who has it), then run the command again.",
    errno.EROFS: "The file system is read-only: clone the project to a place where you may write.",
    errno.ENOSPC: "The disk is full: free some space, then run the command again.",
    errno.EDQUOT: "Your disk quota is used up: free some space, then run the command again.",
    errno.EFBIG: "The file would exceed a size limit (ulimit -f): raise it, then run the command again.",
    errno.EIO: "The disk could not read or write it: it may be failing. Copy the project to another one.",
    errno.EEXIST: "Move it out of the way: something else is to be there.",
    errno.ENOTDIR: "Move it out of the way: a folder is to be there.",
    errno.EISDIR: "Move it out of the way: a file is to be there.",
    errno.ENOENT: "An input is missing: `dvc repro` makes what is missing.",
}
