"""Tables, as csv."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.console import damaged
from pipeline.files import DECIMALS, write_bytes


def write_csv(path: Path | str, table: pd.DataFrame) -> None:
    """Writes a table without its index, floats with `DECIMALS` decimals, lines ending in LF."""
    text = table.to_csv(index=False, float_format=f"%.{DECIMALS}f", lineterminator="\n")
    write_bytes(path, text.encode())


def read_csv(path: Path | str, dtype: Any = None) -> pd.DataFrame:
    """Reads what `write_csv` wrote; `dtype` as pandas has it.

    Raises:
        UserError: it is damaged; it says how to have it made again.
        OSError: it cannot be read.
    """
    try:
        return pd.read_csv(path, dtype=dtype)
    except (ValueError, OverflowError) as error:  # pandas' own errors, and Unicode's, are ValueErrors
        raise damaged(path, error) from None
