"""Fetching a dataset's files from a folder or over HTTP, each checked against its md5 before it is used."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pooch
import requests
from tqdm import tqdm

from pipeline.files import md5, write_bytes

CONNECT_SECONDS, READ_SECONDS = 10, 20
STALL_SECONDS, STALL_BYTES = 20, 20_000  # slower than 1 kB/s for 20 s is as good as down
ATTEMPTS = 3


class SourceFailed(Exception):
    """A source cannot deliver: the message says why, for a person."""


def damaged(folder: Path, wanted: Mapping[str, str]) -> list[str]:
    """The names in `wanted` (name: md5) that are missing from `folder` or are not what they should be."""
    return [name for name, sum_ in wanted.items() if not _intact(folder / name, sum_)]


def fetch(
    source: str, dataset: str, wanted: Mapping[str, str], folder: Path, *, quiet: bool, nested: bool = True
) -> None:
    """Brings the files in `wanted` (name: md5) that are not yet in `folder` from one source.

    Args:
        source: the address or path of a folder.
        nested: `<dataset>/<file>` is tried before `<file>`, after it where the folder has the dataset's name.

    Raises:
        SourceFailed: a file could not be had from there; those that could are in `folder`.
    """
    for name in damaged(folder, wanted):
        home = source.rstrip("/")
        places = [f"{home}/{dataset}/{name}"] * nested + [f"{home}/{name}"]
        if home.endswith(f"/{dataset}"):
            places.reverse()
        failures = []
        for place in places:
            try:
                if source.startswith(("http://", "https://")):
                    _download(place, wanted[name], folder / name, quiet=quiet)
                else:
                    _copy(Path(place), wanted[name], folder / name)
                break
            except _NotThere as error:
                failures.append(str(error))
        else:
            raise SourceFailed("; ".join(dict.fromkeys(failures)))


class _NotThere(Exception):
    """This place has no such file, or another one; the next place may have it."""


def _intact(path: Path, sum_: str) -> bool:
    return path.is_file() and md5(path) == sum_


def _copy(path: Path, sum_: str, target: Path) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _NotThere(f"{path}: {error.strerror}") from None
    write_bytes(target, content)
    if md5(target) != sum_:
        target.unlink()
        raise _NotThere(f"{path}: is not the published file (md5 differs)")


def _download(url: str, sum_: str, target: Path, *, quiet: bool) -> None:
    """pooch downloads to a temporary file, checks it, and renames it; here stand its limits and messages."""
    pooch.get_logger().setLevel("ERROR")
    name = target.name
    with tqdm(desc=name, unit="B", unit_scale=True, leave=False, disable=quiet or None) as bar:
        meter = _Meter(bar)
        downloader = pooch.HTTPDownloader(
            progressbar=meter,
            timeout=(CONNECT_SECONDS, READ_SECONDS),
            headers={"Accept-Encoding": "identity"},  # the md5 is that of the gzipped file
        )
        try:
            with _stall_alarm(meter):
                _attempts(url, sum_, target, downloader)
        except requests.HTTPError as error:
            status = error.response.status_code
            if status in (403, 404, 410):
                raise _NotThere(f"{url}: HTTP {status}") from None
            raise SourceFailed(f"{url}: HTTP {status}") from None
        except requests.Timeout:
            raise SourceFailed(f"{url}: no answer in time") from None
        except requests.RequestException as error:
            raise SourceFailed(f"{url}: {_reason(error)}") from None
        except _Stalled:
            limit = STALL_BYTES // STALL_SECONDS
            raise SourceFailed(f"{url}: slower than {limit} bytes a second") from None
        except ValueError:
            raise _NotThere(f"{url}: is not the published file (md5 differs)") from None


def _attempts(url: str, sum_: str, target: Path, downloader: pooch.HTTPDownloader) -> None:
    """Tries again what another try may mend: a connection that broke off, or a file damaged on the way."""
    for attempt in range(ATTEMPTS):
        last = attempt == ATTEMPTS - 1
        try:
            pooch.retrieve(url, f"md5:{sum_}", fname=target.name, path=target.parent, downloader=downloader)
            return
        except (requests.exceptions.ChunkedEncodingError, ValueError):
            if last:
                raise
        except requests.HTTPError as error:
            if last or error.response.status_code < 500:
                raise


class _Meter:
    """The bar that pooch moves, which also counts bytes for the stall alarm."""

    def __init__(self, bar: Any) -> None:
        self.bar = bar
        self.bytes = 0
        self.total = 0

    def update(self, count: int) -> None:
        self.bytes += count
        self.bar.total = self.total
        self.bar.update(min(count, max(self.total - self.bar.n, 0)))

    def reset(self) -> None:
        self.bar.reset()

    def close(self) -> None:
        """The bar closes itself at the end of its `with`."""


class _Stalled(Exception):
    pass


@contextmanager
def _stall_alarm(meter: _Meter) -> Iterator[None]:
    """Breaks off a server that drips: a read timeout counts from byte to byte and never sees it."""
    seen = 0

    def check(_signal: int, _frame: FrameType | None) -> None:
        nonlocal seen
        if meter.bytes - seen < STALL_BYTES:
            raise _Stalled
        seen = meter.bytes

    # the first tick leaves time for connecting and for the longest silence that is allowed
    first = STALL_SECONDS + CONNECT_SECONDS + READ_SECONDS
    previous = signal.signal(signal.SIGALRM, check)
    signal.setitimer(signal.ITIMER_REAL, first, STALL_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _reason(error: BaseException) -> str:
    """The innermost cause of requests' nested connection errors, in a few words."""
    text = str(error)
    for sign, words in (
        ("Failed to resolve", "the name does not resolve (no internet?)"),
        ("Connection refused", "connection refused"),
        ("Network is unreachable", "the network is unreachable"),
        ("timed out", "no answer in time"),
        ("IncompleteRead", "the connection broke off"),
        ("RemoteDisconnected", "the server hung up"),
    ):
        if sign in text:
            return words
    return text


def tidy(folder: Path, keep: set[str]) -> None:
    """Removes from `folder` all that is not in `keep`, so that its content depends on the dataset alone."""
    for path in folder.iterdir():
        if path.name not in keep:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
