"""Tables as csv."""

from pathlib import Path
from typing import Any

import pandas as pd

from workflow.core.errors import damaged
from workflow.core.files import DECIMALS, write_bytes


def write_csv(
    path: Path | str,
    table: pd.DataFrame | list[dict[str, Any]] | dict[str, Any],
    columns: list[str] | None = None,
) -> None:
    """Writes a table, or its rows, or its columns by name: `DECIMALS` decimals, lines end in LF, no index.

    Args:
        columns: the names in the header, also of a table without rows.
    """
    text = pd.DataFrame(table, columns=columns).to_csv(
        index=False, float_format=f"%.{DECIMALS}f", lineterminator="\n"
    )
    write_bytes(path, text.encode())


def read_csv(path: Path | str, dtype: Any = None) -> pd.DataFrame:
    """Reads a file of `write_csv`, with pandas' `dtype`; raises a UserError if it is damaged."""
    try:
        return pd.read_csv(path, dtype=dtype)
    except (ValueError, OverflowError) as error:  # pandas' own errors, and Unicode's, are ValueErrors
        raise damaged(path, error) from None
