"""Files that appear whole or not at all, with the same bytes for the same content."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.console import damaged

DECIMALS = 6  # of every number in reports/: a millionth of a nat, far below any standard error here


def write_bytes(path: Path | str, content: bytes) -> None:
    """Writes `content` to `path` by a temporary file, fsync and rename: a reader never sees half a file.

    The folder is synced, too: after a power cut the file has its new name, or the old one its old content.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        # a write that fails does not know its file
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path | str, content: Mapping[str, Any]) -> None:
    """Writes sorted keys and floats of at most `DECIMALS` decimals."""
    text = json.dumps(_rounded(content), indent=2, sort_keys=True, allow_nan=False)
    write_bytes(path, f"{text}\n".encode())


def read_json(path: Path | str) -> dict[str, Any]:
    """Reads a json object.

    Raises:
        UserError: it is damaged; it says how to have it made again.
        OSError: it cannot be read.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from None
    if not isinstance(content, dict):
        raise damaged(path, "no object")
    return content


def md5(path: Path | str) -> str:
    """The md5 of a file, in hexadecimal: what DVC, and the authors of the datasets, name it by."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def digest(*parts: bytes) -> str:
    """32 hexadecimal digits of the sha256 of `parts` (MLflow takes at most 36)."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()[:32]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DECIMALS) + 0.0  # -0.0 becomes 0.0
    if isinstance(value, Mapping):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
