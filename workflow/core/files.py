"""Files that appear whole or not at all, with the same bytes for the same content."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workflow.core.errors import UserError, damaged

PARAMS = Path("params.yaml")
DECIMALS = 6  # of every number in reports/: a millionth of a nat, far below any standard error here


def write_bytes(path: Path | str, content: bytes) -> None:
    """Writes `content` to `path` by a temporary file, fsync and rename: a reader never sees half a file.

    The folder is synced too: after a power cut the file has either its old content or the new one.
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
        # the error of a failed write names no file
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path | str, content: Mapping[str, Any]) -> None:
    """Writes sorted keys and floats of at most `DECIMALS` decimals."""
    text = json.dumps(content, allow_nan=False)
    rounded = json.loads(text, parse_float=lambda number: round(float(number), DECIMALS) + 0.0)  # no -0.0
    write_bytes(path, f"{json.dumps(rounded, indent=2, sort_keys=True)}\n".encode())


def read_json(path: Path | str) -> dict[str, Any]:
    """Reads a JSON object; raises a UserError if the file is damaged."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from None
    if not isinstance(content, dict):
        raise damaged(path, "not a JSON object")
    return content


def md5(path: Path | str) -> str:
    """The md5 of a file, in hexadecimal: DVC and the publishers of datasets identify it so."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def digest(*parts: bytes) -> str:
    """32 hexadecimal digits of the sha256 of `parts` (MLflow takes at most 36)."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()[:32]


def read_yaml(path: Path | str = PARAMS) -> dict[str, Any]:
    """The plain content of a YAML file, as DVC reads it: by YAML 1.2, where 3e-4 is a number.

    Raises:
        UserError: the file is missing, is not YAML, or is not a mapping.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="safe", pure=True).load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is not here; run this from the project's folder") from None
    except RecursionError:
        raise UserError(f"{path} is nested too deeply to be read") from None
    except (YAMLError, ValueError) as error:
        fault = getattr(error, "problem", None) or " ".join(str(error).split())
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UserError(f"{path} is not YAML ({place}{fault})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} has no sections (`name:` and, indented below it, its keys)")
    return content
