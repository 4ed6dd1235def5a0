"""Bounds of log p(x) from the loosest to the tightest, and the gaps that families of posteriors leave."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from plots import style

LAST = "log p(x)\n"
NOT_DRAWN = ("best diagonal, all images", "encoder")
TRUST = 0.9  # share of the images with a small Pareto k from which on a marker is filled


def ladder(elbo: Mapping[str, Any], likelihood: Mapping[str, Any], *, exact: bool = True) -> dict[str, float]:
    """The bounds in `elbo` (`elbo`, `iwae_<k>`) by rising k, and the `log_likelihood` in `likelihood`."""
    by_k = {1: elbo["elbo"]}
    by_k |= {int(key.removeprefix("iwae_")): elbo[key] for key in elbo if key.startswith("iwae_")}
    steps = {f"IWAE\nk = {k}" if k > 1 else "ELBO": float(bound) for k, bound in sorted(by_k.items())}
    return steps | {f"{LAST}{'exact' if exact else 'bound'}": float(likelihood["log_likelihood"])}


def bounds(ladders: Mapping[str, Mapping[str, float]], data: str) -> Figure:
    """Lower bounds of the mean log-likelihood (nats per image), from the loosest to the best value.

    Args:
        ladders: of each model, as `ladder` gives them. The best value of a wide latent is a bound, too, which
            has an open marker.
    """
    ends = list(dict.fromkeys(list(steps)[-1] for steps in ladders.values()))
    steps = [
        *list(next(iter(ladders.values())))[:-1],
        " or ".join([ends[0], *(end.removeprefix(LAST) for end in ends[1:])]),
    ]
    fig, axes = style.subplots(1.3 * len(steps) + 2.4, 4.2)
    values = np.array([list(ladder.values()) for ladder in ladders.values()])
    low, high = values.min(), max(values.max(), values.min() + 1)
    found = style.looks(list(ladders))
    texts = np.array([[style.number(value) for value in row] for row in values], dtype=object)
    for place, (name, look) in enumerate(found.items()):
        row = values[place]
        axes.plot(row, color=look.colour, ls=look.dashes, marker=look.marker, ms=7, lw=1, label=name)
        if not list(ladders[name])[-1].endswith("exact"):
            axes.plot(len(row) - 1, row[-1], look.marker, color=look.colour, mfc="white", ms=7)
            texts[place, -1] = f"≥ {texts[place, -1]}"
    axes.set_xticks(range(len(steps)), steps)
    axes.set(ylabel="nats per image, mean", xlim=(-0.25, len(steps) - 0.3))
    axes.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
    for place, column in enumerate(values.T):
        style.texts_beside(axes, place, column, texts[:, place].tolist(), -8)
    axes.grid(False, axis="x")
    style.legend_above(fig, axes.get_legend_handles_labels()[0])
    return style.finish(fig, f"binarized test images of {data}")


def families(tables: Mapping[str, pd.DataFrame], bounded: Sequence[str], data: str) -> Figure:
    """The mean inference gap (nats per image) of the encoder's q, and of the best of each family, by model.

    Args:
        tables: of each model the rows of one split: `family`, `images`, `gap`, `gap_se`.
        bounded: the models whose log p(x) is a lower bound, so that their gaps are lower bounds, too.
    """
    names = list(dict.fromkeys(family for table in tables.values() for family in table["family"]))
    names.sort(key=lambda name: name != "encoder")
    height = 1.4 + 0.32 * sum(len(table) for table in tables.values()) + 0.22 * len(names)
    fig, axes = style.subplots(9.0, height)
    place, ticks = 0.0, []
    found = style.looks(list(tables))
    for family in names:
        first = place
        for name, table in tables.items():
            for row in table[table["family"] == family].to_dict("records"):
                look = found[name]
                axes.barh(place, row["gap"], 0.62, color=look.colour, alpha=0.35, lw=0)
                axes.errorbar(
                    row["gap"], place, xerr=row["gap_se"], color=look.colour, fmt=look.marker, ms=6,
                    capsize=3, lw=1.4,
                )  # fmt: skip
                text = style.plus_minus(row["gap"], row["gap_se"])
                end = np.nansum([row["gap"], row["gap_se"]])
                axes.annotate(
                    f"≥ {text}" if name in bounded else text, (end, place), (9, 0),
                    textcoords="offset points", va="center", fontsize=10,
                )  # fmt: skip
                place += 1
        ticks.append((first + place - 1) / 2)
        place += 0.7
    axes.set_yticks(ticks, ["encoder's q" if name == "encoder" else f"{name} q" for name in names])
    axes.set(ylim=(place - 1.1, -0.6), xlabel="log p(x) − ELBO (nats per image)")
    axes.set_xlim(0, 1.24 * axes.get_xlim()[1])
    axes.grid(False, axis="y")
    style.legend_above(fig, style.keys(found, lines=False))
    counts = sorted({int(count) for table in tables.values() for count in table["images"]})
    images = " or ".join(f"{count:,}" for count in counts)
    return style.finish(fig, f"± standard error over {images} binarized test images of {data}")


def estimators(tables: Mapping[str, pd.DataFrame], data: str) -> Figure:
    """Lower bounds of log p(x) (nats per image) of wide latents, by the number k of their samples.

    An open marker is not to be trusted: fewer than `TRUST` of the images have weights with a tail so light (a
    Pareto k so small) that their mean can be relied on.

    Args:
        tables: of each model the rows of one split: `estimator`, `k`, `images`, `bound`, `bound_se`,
            `pareto_k`, `trusted` (a share). An estimator with one k is a line across. `NOT_DRAWN` are left
            out: one is of other images, the other is iwae's with a few samples of the prior.
    """
    tables = {name: table[~table["estimator"].isin(NOT_DRAWN)] for name, table in tables.items()}
    fig, cells = style.panels(len(tables), 5.0 if len(tables) > 1 else 7.0, 4.2)
    every = list(dict.fromkeys(name for table in tables.values() for name in table["estimator"]))
    found = style.looks(every)
    counts: set[int] = set()
    for axes, (name, table) in zip(cells, tables.items(), strict=True):
        lines = [
            (estimator, rows.sort_values("k")) for estimator, rows in table.groupby("estimator", sort=False)
        ]
        last = []
        for estimator, rows in lines:
            look, k, bound = found[str(estimator)], rows["k"].to_numpy(), rows["bound"].to_numpy()
            if len(rows) == 1:
                axes.axhline(bound[0], color=look.colour, ls=look.dashes, lw=1.2)
            else:
                axes.plot(k, bound, color=look.colour, ls=look.dashes, lw=1.4)
            trusted = ~(pd.to_numeric(rows["trusted"]) < TRUST).to_numpy()
            for chosen, fill in ((trusted, look.colour), (~trusted, "white")):
                axes.errorbar(
                    k[chosen], bound[chosen], rows["bound_se"].to_numpy()[chosen], color=look.colour,
                    fmt=look.marker, mfc=fill, ms=7, capsize=3, lw=1,
                )  # fmt: skip
            last.append((float(bound[-1]), style.number(float(bound[-1]))))
            counts |= set(rows["images"].astype(int))
        axes.set(xscale="log", xlabel="samples of an image", title=name)
        low, high = table["k"].min(), table["k"].max()
        axes.set_xlim(low / 1.5, high * (high / max(low, 1)) ** 0.22 * 1.2)
        several = [rows for _, rows in lines if len(rows) > 1]
        ticks = sorted(set(pd.concat(several or [table])["k"]))
        axes.set_xticks(ticks, [f"{k:,}" for k in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        style.texts_beside(axes, high * 1.15, *map(list, zip(*last, strict=True)))  # type: ignore[arg-type]
    cells[0].set_ylabel("lower bound of log p(x) (nats per image)")
    handles = [
        Line2D([], [], color=look.colour, ls=look.dashes, marker=look.marker, ms=7, label=name)
        for name, look in found.items()
    ]
    handles.append(
        Line2D([], [], color="black", ls="", marker="o", mfc="white", ms=7, label="heavy tail: not to trust")
    )
    style.legend_above(fig, handles)
    images = " or ".join(f"{count:,}" for count in sorted(counts))
    return style.finish(fig, f"± standard error over {images} binarized test images of {data}")
