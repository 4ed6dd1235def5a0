"""What differs between DVC's experiments, HEAD and the working tree: `python -m stages.compare [NAME …]`.

The params that differ, and those of the few numbers in reports/metrics that do; nothing that is equal in all.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.console import UserError, run
from pipeline.params import read

WIDTH = 120
HERE = "working tree"
NONE = "–"

Row = Mapping[str, Any]


def main() -> None:
    names = sys.argv[1:]
    rows = chosen(experiments(), names)
    columns = differing(rows.values())
    if len(rows) == 1 or not columns:
        print(
            f"nothing differs between {', '.join(rows)}"
            if names
            else "no experiments of HEAD, and the working tree has its params and numbers;\n"
            "  `dvc exp run -S vae.tuned.lr=0.001` makes an experiment"
        )
        return
    print("\n\n".join(tables(rows, columns)))


def experiments() -> dict[str, Row]:
    """Params and metrics by name: of the working tree, of HEAD by its branch, of HEAD's experiments."""
    from dvc.api import exp_show
    from dvc.exceptions import NotDvcRepoError
    from dvc.scm import SCMError

    found = []
    with contextlib.suppress(NotDvcRepoError, SCMError), contextlib.redirect_stderr(io.StringIO()):
        found = exp_show()  # the redirected is its progress bar
    if len(found) < 2:  # the working tree at most
        raise UserError(
            "no git repository with a commit here, and DVC keeps experiments as commits;"
            " `git init && git add -A && git commit -m start` makes one"
        )
    return {HERE if row["rev"] == "workspace" else row["Experiment"] or row["rev"]: row for row in found}


def chosen(rows: Mapping[str, Row], names: Sequence[str]) -> dict[str, Row]:
    """The experiments of these names beside HEAD; without names all, and the working tree if it differs."""
    if unknown := [name for name in names if name not in rows]:
        raise UserError(
            f"no experiment {', '.join(unknown)} of HEAD; there are: {', '.join(rows)}"
            " (`dvc exp list --all` lists those of other commits)"
        )
    if names:
        return {name: rows[name] for name in names}
    here, head = list(rows)[:2] if len(rows) > 1 else [HERE, HERE]
    same = here != head and not differing([rows[here], rows[head]])
    return {name: row for name, row in rows.items() if not (same and name == here)}


def differing(rows: Iterable[Row]) -> list[str]:
    """The params, then the metrics, that are not the same in all rows, in the order of their files."""
    rows = list(rows)
    sections = list(read())
    columns = list(dict.fromkeys(column for row in rows for column in row if column not in FIXED))
    params = [column for column in columns if column.split(".")[0] in sections]
    metrics = [column for column in columns if column not in params and _measured(rows, column)]
    return [column for column in [*params, *metrics] if len({str(row.get(column)) for row in rows}) > 1]


FIXED = ("Experiment", "rev", "typ", "Created", "parent", "State", "Executor")


def _measured(rows: Iterable[Row], column: str) -> bool:
    return any(isinstance(row.get(column), int | float) for row in rows)


def tables(rows: Mapping[str, Row], columns: Sequence[str]) -> list[str]:
    """One table, or several below each other where one would be wider than `WIDTH`."""
    cells = {column: [column, *(_written(row.get(column)) for row in rows.values())] for column in columns}
    first = ["", *rows]
    blocks: list[list[list[str]]] = []
    for column in columns:
        if blocks and sum(_width(item) + 2 for item in [*blocks[-1], cells[column]]) <= WIDTH:
            blocks[-1].append(cells[column])
        else:
            blocks.append([first, cells[column]])
    return ["\n".join(map(_line, zip(*_padded(block), strict=True))) for block in blocks]


def _padded(block: Sequence[Sequence[str]]) -> list[list[str]]:
    names, *numbers = block
    return [
        [cell.ljust(_width(names)) for cell in names],
        *([cell.rjust(_width(column)) for cell in column] for column in numbers),
    ]


def _line(cells: Iterable[str]) -> str:
    return "  ".join(cells).rstrip()


def _width(column: Iterable[str]) -> int:
    return max(map(len, column))


def _written(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) >= 1 else f"{value:.4g}"
    return NONE if value is None else str(value)


if __name__ == "__main__":
    run(main)
