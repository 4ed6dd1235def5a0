"""Models beside each other: paired gains, and the search for their settings."""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from plots import style

GAINS = {  # what `gains` draws, from above
    "elbo": "ELBO",
    "log_likelihood": "log p(x), exact",
    "inference_gap": "inference gap\n(smaller is better)",
}


def gains(differences: Mapping[str, Mapping[str, Any]], data: str) -> Figure:
    """What each further model gains over the first on the same images (nats per image), ± standard errors.

    Args:
        differences: by model, `base`, `images`, and of each of `GAINS` the mean and its error, `<key>_se`, or
            None; `exact` is false where log p(x) is a lower bound.
    """
    fig, axes = style.subplots(9.0, 1.3 + 0.42 * len(GAINS) * (len(differences) + 0.6))
    found = style.looks(["", *differences])  # the first model has the first look
    spread = 0.34 * (len(differences) - 1) / max(len(differences), 2)
    shifts = np.linspace(-spread, spread, len(differences))
    for (name, row), shift in zip(differences.items(), shifts, strict=True):
        look = found[name]
        for place, key in enumerate(GAINS):
            value, error = row[key], row[f"{key}_se"]
            axes.errorbar(
                value, place + shift, xerr=error, color=look.colour, fmt=look.marker, ms=8, capsize=4, lw=1.8
            )
            text = style.plus_minus(value, error, sign=True)
            beyond = -1 if value < 0 else 1  # on the side away from zero
            end = value + beyond * (error or 0)
            axes.annotate(
                text, (end, place + shift), (9 * beyond, 0), textcoords="offset points",
                va="center", ha="right" if value < 0 else "left", fontsize=10.5,
            )  # fmt: skip
    base, images = (next(iter(differences.values()))[key] for key in ("base", "images"))
    axes.axvline(0, color="black", lw=1)
    exact = all(row.get("exact", True) for row in differences.values())
    labels = [label if exact else label.replace("exact", "exact or bound") for label in GAINS.values()]
    axes.set_yticks(range(len(GAINS)), labels)
    axes.set(ylim=(len(GAINS) - 0.5, -0.5), xlabel=f"difference from {base} (nats per image)")
    low, high = axes.get_xlim()
    room = 0.22 * (high - low)  # for the numbers
    axes.set_xlim(low - room if low < 0 else 0, high + room)
    axes.grid(False, axis="y")
    style.legend_above(fig, style.keys({name: found[name] for name in differences}, lines=False))
    return style.finish(
        fig, f"± standard error of paired differences, {images:,} binarized test images of {data}"
    )


def search(table: pd.DataFrame, data: str) -> Figure:
    """The validation ELBO of each setting tried, sorted; a setting is named by what differs from the first's.

    Args:
        table: a row for each training: `name`, `activation`, `input_dropout`, `lr`, `schedule`, `warmup`,
            `seed`, `validation_elbo` (nats per image) and `validation_elbo_se`, over images. The first row
            is the chosen one; rows that differ from it in nothing but the seed show how much seeds matter.
        data: what the models were scored on.
    """
    chosen = table.iloc[0]
    differs = [_differences(row, chosen) for row in table.to_dict("records")]
    seeds = table[[not text for text in differs]]
    others = table.assign(label=differs)[[bool(text) for text in differs]]
    chosen_row = table.iloc[[0]].assign(label=f"{chosen['name']}: {_settings(chosen)}")
    rows = pd.concat([chosen_row, others]).sort_values("validation_elbo", ascending=False, kind="stable")
    fig, axes = style.subplots(9.4, 0.36 * len(rows) + 1.6)
    if len(seeds) > 1:
        low, high = seeds["validation_elbo"].min(), seeds["validation_elbo"].max()
        axes.axvspan(low, high, color=style.FIRST, alpha=0.12, lw=0)
    for place, row in enumerate(rows.to_dict("records")):
        mine = row["name"] == chosen["name"]
        look = style.LOOKS[0 if mine else 1]
        if mine:
            more = seeds["validation_elbo"].iloc[1:]
            axes.plot(more, np.full(len(more), place), "o", color=look.colour, mfc="white", ms=6, zorder=2.5)
        axes.errorbar(
            row["validation_elbo"], place, xerr=row["validation_elbo_se"], color=look.colour,
            fmt=look.marker, ms=7, capsize=3, lw=1.4,
        )  # fmt: skip
    labels = [textwrap.fill(label, 42).replace("~", " ") for label in rows["label"]]
    axes.set_yticks(range(len(rows)), labels, fontsize=10)
    axes.set(ylim=(len(rows) - 0.4, -0.6), xlabel="validation ELBO (nats per image)")
    handles = style.keys({f"{chosen['name']}": style.LOOKS[0], "tried": style.LOOKS[1]}, lines=False)
    if len(seeds) > 1:
        label = f"{chosen['name']}, other seed{'s' if len(seeds) > 2 else ''}"
        dot = Line2D([], [], color=style.FIRST, label=label, ls="", marker="o", mfc="white", ms=6)
        handles.append(dot)
        handles.append(Line2D([], [], color=style.FIRST, alpha=0.15, lw=9, label="spread of its seeds"))
    style.legend_above(fig, handles)
    return style.finish(fig, f"bars: ± standard error over {data}")


def _differences(row: Mapping[Any, Any], chosen: pd.Series) -> str:
    texts = [_setting(key, row[key]) for key in SETTINGS if row[key] != chosen[key]]
    if texts and row["seed"] != chosen["seed"]:
        texts.append(f"seed {row['seed']}")
    text = ", ".join(texts)
    return f"{row['name']}: {text}" if len(texts) > 2 else text


def _settings(row: pd.Series) -> str:
    return ", ".join(_setting(key, row[key]) for key in SETTINGS)


def _setting(key: str, value: Any) -> str:
    """A setting in words, with `~` for a space where no line may be broken."""
    if key == "activation":
        return str(value)
    if key == "schedule":
        return f"{value}~lr"
    words = key.replace("_", "~")
    return f"{words}~{value:g}" if value else f"no~{words}"


SETTINGS = ("activation", "input_dropout", "lr", "schedule", "warmup")
