"""What differs between DVC's experiments, HEAD and the working tree: `python -m pages.compare [NAME …]`.

It prints the params and the numbers in reports/metrics that are not equal in all of them.
"""

import contextlib
import io
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from workflow.core.errors import UserError
from workflow.core.files import read_yaml
from workflow.runs.console import run
from workflow.runs.worktree import conflict

WIDTH = 120
ABOUT = ("Experiment", "rev", "typ", "Created", "parent", "State", "Executor")  # columns about the experiment

Row = Mapping[str, Any]


def main() -> None:
    names = sys.argv[1:]
    if error := conflict():
        raise error
    rows = select(experiments(), names)
    columns = differing(rows.values())
    if len(rows) > 1 and columns:
        print(table(rows, columns) + note(rows.values(), columns))
    elif names:
        print(f"nothing differs between {', '.join(rows)}")
    else:
        print("no experiments of HEAD, and the working tree has the params and numbers of HEAD.")
        print("  `dvc exp run -S vae.tuned.lr=0.001` makes an experiment, and `make sweep` several")
        found = variants(next(iter(rows.values())))
        if len(found) > 1:
            columns = differing(found.values())
            print(f"\nThe variants of params.yaml:\n{table(found, columns)}{note(found.values(), columns)}")


def experiments() -> dict[str, Row]:
    """Params and metrics by name: of the working tree, of HEAD by its branch, of HEAD's experiments."""
    from dvc.api import exp_show
    from dvc.exceptions import NotDvcRepoError
    from dvc.scm import SCMError

    found = []
    with contextlib.suppress(NotDvcRepoError, SCMError), contextlib.redirect_stderr(io.StringIO()):
        found = exp_show()  # draws a progress bar on stderr
    if len(found) < 2:  # the working tree at most
        raise UserError(
            "no git repository with a commit here, and DVC keeps experiments as commits;"
            " `git init && git add -A && git commit -m start` makes one"
        )
    names = (
        "working tree" if row["rev"] == "workspace" else row["Experiment"] or row["rev"] for row in found
    )
    return dict(zip(names, found, strict=True))


def variants(row: Row) -> dict[str, Row]:
    """Each variant's params and metrics; `vae.tuned.lr` is called `vae.lr`, and `tuned.elbo` `elbo`."""
    params = read_yaml()
    # a metric is called NAME.…, a param of a section of that name as well
    own = {name: re.compile(rf"^(vae\.{'' if name in params else '|'}){name}\.") for name in params["vae"]}
    return {
        name: {prefix.sub(r"\1", key): value for key, value in row.items() if prefix.match(key)}
        for name, prefix in own.items()
    }


def select(rows: Mapping[str, Row], names: Sequence[str]) -> dict[str, Row]:
    """The experiments of these names; without names all, without the working tree if it equals HEAD."""
    if unknown := [name for name in names if name not in rows]:
        raise UserError(
            f"no experiment {', '.join(unknown)} of HEAD; there are: {', '.join(rows)}"
            " (`dvc exp list --all` lists those of other commits)"
        )
    if names:
        return {name: rows[name] for name in names}
    here, head = list(rows)[:2]
    unchanged = not differing([rows[here], rows[head]])
    return {name: row for name, row in rows.items() if not (unchanged and name == here)}


def differing(rows: Iterable[Row]) -> list[str]:
    """The params, then the metrics, that are not equal in all rows, in the order of their files."""
    rows, sections = list(rows), read_yaml()
    columns = list(dict.fromkeys(column for row in rows for column in row if column not in ABOUT))
    params = [column for column in columns if column.split(".")[0] in sections]
    numbers = {column for row in rows for column, value in row.items() if isinstance(value, int | float)}
    metrics = [column for column in columns if column in numbers.difference(params)]
    return [column for column in params + metrics if len({str(row.get(column)) for row in rows}) > 1]


def table(rows: Mapping[str, Row], columns: Sequence[str]) -> str:
    """The columns of each row, in several tables below each other where one would be wider than `WIDTH`."""
    cells = {column: [_text(row.get(column)) for row in rows.values()] for column in columns}
    text = pd.DataFrame(cells, index=list(rows)).to_string(line_width=WIDTH)
    return re.sub(r" *\\?$", "", text, flags=re.M)  # pandas marks lines that go on by a backslash


def note(rows: Iterable[Row], columns: Sequence[str]) -> str:
    """A last line for a table with log-likelihoods of wide latents, which are lower bounds; or ""."""
    latents = [
        value for row in rows for key, value in row.items() if re.fullmatch(r"vae(\.\w+)?\.latent", key)
    ]
    shown = any(column.split(".")[-1] in ("logp", "gap") for column in columns)
    wide = shown and any(latent not in (2, None) for latent in latents)
    return "\nlogp and gap are lower bounds where latent is not 2" if wide else ""


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) >= 1 else f"{value:.4g}"
    return "–" if value is None else str(value)


if __name__ == "__main__":
    run(main)
