"""Fetching a dataset's files from a folder or over HTTP, each checked by its md5 before it is used."""

import hashlib
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pooch
import requests
from requests.exceptions import ChunkedEncodingError

from workflow.core.files import md5, write_bytes

CONNECT_SECONDS, READ_SECONDS = 10, 20
RETRIES = 2  # after a broken connection, an HTTP status of 500 or more, or a wrong md5


class SourceFailed(Exception):
    """A source does not work; the message gives the address and the fault."""


class _NotThere(Exception):
    """This address has no such file, or a wrong one; the next address may have it."""


def damaged(folder: Path, files: Mapping[str, str]) -> list[str]:
    """The names of the files (name: md5) that are missing from `folder` or have another md5."""
    return [
        name for name, sum_ in files.items() if not (folder / name).is_file() or md5(folder / name) != sum_
    ]


def fetch(
    source: str, dataset: str, files: Mapping[str, str], folder: Path, *, quiet: bool, nested: bool = True
) -> None:
    """Fetches the files (name: md5) that are missing from `folder` or damaged there from one source.

    Args:
        source: the address or path of a folder.
        quiet: without progress bars.
        nested: `<dataset>/<file>` is tried before `<file>`, after it where the folder has the dataset's name.

    Raises:
        SourceFailed: a file cannot be fetched; those before it are in `folder`.
    """
    home = source.rstrip("/")
    bases = [f"{home}/{dataset}"] * nested + [home]
    if home.endswith(f"/{dataset}"):
        bases.reverse()
    for name in damaged(folder, files):
        failures = []
        for base in bases:
            try:
                if source.startswith(("http://", "https://")):
                    _download(f"{base}/{name}", files[name], folder / name, quiet=quiet)
                else:
                    _copy(Path(base, name), files[name], folder / name)
                break
            except _NotThere as error:
                failures.append(str(error))
        else:
            raise SourceFailed("; ".join(failures))


def _copy(path: Path, expected: str, target: Path) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _NotThere(f"{path}: {error.strerror}") from None
    if hashlib.md5(content).hexdigest() != expected:
        raise _NotThere(f"{path}: is not the published file (md5 differs)")
    write_bytes(target, content)


def _download(url: str, expected: str, target: Path, *, quiet: bool) -> None:
    """Downloads by pooch: it checks the md5, retries, and moves the file to `target` when it is whole."""
    download = pooch.HTTPDownloader(
        progressbar=not quiet,
        timeout=(CONNECT_SECONDS, READ_SECONDS),
        headers={"Accept-Encoding": "identity"},  # the md5 is that of the gzipped file
    )

    def download_or_give_up(*arguments: Any) -> None:
        """Raises our own errors, which pooch does not retry, where another try would not help."""
        try:
            download(*arguments)
        except requests.RequestException as error:
            if error.response is not None and error.response.status_code < 500:
                raise _NotThere(f"{url}: {_fault(error)}") from None
            if isinstance(error, requests.HTTPError | ChunkedEncodingError):
                raise
            raise SourceFailed(f"{url}: {_fault(error)}") from None

    pooch.get_logger().setLevel("ERROR")
    name = target.name
    registry = {name: f"md5:{expected}"}
    files = pooch.create(target.parent, "", registry=registry, urls={name: url}, retry_if_failed=RETRIES)
    try:
        files.fetch(name, downloader=download_or_give_up)
    except requests.RequestException as error:
        raise SourceFailed(f"{url}: {_fault(error)}") from None
    except ValueError:
        raise _NotThere(f"{url}: is not the published file (md5 differs)") from None


def _fault(error: BaseException) -> str:
    """A few words, such as `HTTP 404`, or `Connection refused` from the innermost of requests' errors."""
    if isinstance(error, requests.HTTPError):
        return f"HTTP {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, ChunkedEncodingError):
        return "the connection broke"
    while inner := error.__cause__ or error.__context__:
        error = inner
    if isinstance(error, socket.gaierror):
        return f"{error.strerror} (no internet?)"
    return getattr(error, "strerror", None) or str(error)


def tidy(folder: Path, keep: set[str]) -> None:
    """Removes from `folder` all that is not in `keep`, so that its content depends on the dataset alone."""
    for path in folder.iterdir():
        if path.name not in keep:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
