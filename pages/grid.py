"""The settings of a sweep, and the table of what they gave."""

import re
import shlex
from collections.abc import Mapping, Sequence

import pandas as pd

from workflow.core.errors import UserError

USAGE = 'make sweep KEYS="vae.tuned.lr=0.0005,0.001,0.002 vae.tuned.activation=relu,gelu"'

Settings = dict[str, str]  # a value by key


def parse(text: str) -> dict[str, list[str]]:
    """The values of each key in `a.b=1,2 c.d=[3,4],[5,6]`."""
    keys: dict[str, list[str]] = {}
    try:
        words = shlex.split(text)
    except ValueError as error:  # a quote that is not closed
        raise UserError(f"{text}: {error}: {USAGE}") from None
    for word in words:
        key, _, values = word.partition("=")
        if key in keys:
            raise UserError(f"{key} is given twice; give its values once, with commas: {USAGE}")
        keys[key] = list(dict.fromkeys(re.split(r",(?![^\[]*\])", values)))
        if not key or "" in keys[key]:
            raise UserError(f"{word} is not KEY=VALUE,VALUE: {USAGE}")
    return keys


def summary(
    points: Mapping[str, Settings],
    varied: Sequence[str],
    scores: Mapping[str, float],
    metric: str,
    held_out: str,
) -> list[str]:
    """The table, best first; what to do with the best; and each key's share in the spread."""
    names = sorted(scores, key=lambda name: -scores[name])
    if not names:
        return ["no experiment of the sweep is done"]
    rows = [{key: points[name][key] for key in varied} | {metric: f"{scores[name]:.4f}"} for name in names]
    best = " ".join(f"{key}={points[names[0]][key]}" for key in varied)
    lines = ["", pd.DataFrame(rows, index=names).to_string(), "", f"best: {best or names[0]}"]
    lines += ["  to score it on the test images, set this in params.yaml, then `make repro`"]
    lines += [f"  `dvc exp apply {names[0]}` sets it, and {held_out}={points[names[0]][held_out]} with it"]
    if missing := len(points) - len(names):
        return [*lines, "", f"{missing} of {len(points)} are missing, so shares in the spread are not shown"]
    if len(set(scores.values())) > 1:
        parts = shares([points[name] for name in names], [scores[name] for name in names])
        lines += ["", f"share in the spread (variance) of {metric}; rest: interactions, and chance"]
        lines += [f"  {key:<30} {share:7.1%}" for key, share in parts.items()]
    return lines


def shares(points: Sequence[Settings], values: Sequence[float]) -> dict[str, float]:
    """Each varied key's share in the variance of the values over a complete grid, by an analysis of variance.

    Not all values may be equal. The sum of squares of its levels' means, over the total; `rest` is what these
    main effects leave.
    """
    table, deviation = pd.DataFrame(points), pd.Series(values) - sum(values) / len(values)
    total = float((deviation**2).sum())
    found = {
        str(key): float((deviation.groupby(table[key]).transform("mean") ** 2).sum()) / total
        for key in table
        if table[key].nunique() > 1
    }
    return found | {"rest": max(0.0, float((deviation**2).sum()) / total - sum(found.values()))}
