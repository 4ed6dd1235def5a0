"""The numbers of a report, as they are written."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any


def columns(path: Path) -> dict[str, list[str]]:
    """The numbers and words of a report, as they are written, by column; a json has one a dotted key.

    Raises:
        ValueError: it is not what its name says.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        # numbers stay text: a float would forget how they are written
        try:
            content = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
            return {key: [value] for key, value in _leaves(content, "")}
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
    try:
        header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    except csv.Error as error:
        raise ValueError(str(error)) from None
    if len(set(header)) < len(header) or any(len(row) != len(header) for row in rows):
        raise ValueError("its rows do not have one cell a column")
    return {name: [row[place] for row in rows] for place, name in enumerate(header)}


def number(text: str) -> Decimal | None:
    """A number as it is written, so that a difference of 0.1 is 0.1; None: it is a word, or empty."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def _leaves(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict | list) and value:
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for name, item in inner:
            yield from _leaves(item, f"{key}.{name}" if key else str(name))
    else:
        yield key, value if isinstance(value, str) else json.dumps(value)
