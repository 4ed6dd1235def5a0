"""What a judge says of a VAE's samples, its plane of latents, and the lines through it."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.patheffects as effects
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from plots import style

MARKED = 5  # pairs of classes on the map


def verdicts(decoded: np.ndarray, table: pd.DataFrame, columns: int, title: str, data: str) -> Figure:
    """Decoded means (N, pixels) with the judge's verdict below each; those it cannot place are framed.

    Args:
        table: `verdict`, `confidence` and `sure` of each image, in their order.
    """
    pictures = style.square(decoded)
    count, height, width = pictures.shape
    rows = -(-count // columns)
    down, across = height * 1.36, width * 1.12  # from one picture to the next; below each is a line of text
    fig = style.figure(0.92 * columns + 0.3, 1.14 * rows + 0.9)
    axes = fig.subplots()
    canvas = np.zeros((round(down * rows), round(across * columns)))
    verdict_of = table[["verdict", "confidence", "sure"]].itertuples(index=False)
    for place, (picture, (verdict, confidence, sure)) in enumerate(zip(pictures, verdict_of, strict=True)):
        top, left = round(place // columns * down), round(place % columns * across)
        canvas[top : top + height, left : left + width] = picture
        frame = Rectangle(
            (left - 0.5, top - 0.5), width, height, fill=False, zorder=3 if sure else 4,
            ec="#cccccc" if sure else style.SECOND, lw=0.8 if sure else 2.4,
        )  # fmt: skip
        axes.add_patch(frame)
        mark = "" if sure else "?"
        axes.text(
            left + width / 2, top + height + 0.5, f"{style.short([verdict])[0]}{mark} {confidence:.0%}",
            fontsize=9, ha="center", va="top", color="black" if sure else "#9a3546",
            fontweight="normal" if sure else "bold",
        )  # fmt: skip
    axes.imshow(canvas, cmap=style.INK, vmin=0, vmax=1, interpolation="nearest")
    axes.set(xlim=(-1.5, canvas.shape[1]), ylim=(canvas.shape[0], -1.5))
    axes.set_axis_off()
    axes.set_title(title)
    style.caption(fig, f"verdict and confidence of the images' classifier; trained on binarized {data}")
    return fig


def by_class(table: pd.DataFrame, title: str, data: str) -> Figure:
    """Of each class: its share among samples and data, its blur, and what reconstruction makes of it."""
    fig = style.figure(10.4, 4.2)
    share, blur, lost = fig.subplots(1, 3)
    _bars(share, table, {"share": "samples", "share_of_data": "data"}, "share of images")
    pair = {"pixel_entropy": "samples", "pixel_entropy_of_reconstructions": "reconstructions"}
    _bars(blur, table, pair, "pixel entropy (nats a pixel)")
    pair = {"reconstructed_as_other": "reconstructions", "judge_error": "images"}
    _bars(lost, table, pair, "share judged as another class")
    fig.suptitle(title, fontsize=12)
    style.caption(fig, f"classes by the images' classifier; binarized {data}")
    return fig


def _bars(axes: Axes, table: pd.DataFrame, columns: dict[str, str], label: str) -> None:
    places = np.arange(len(table))
    looks = ((style.FIRST, -0.2), (style.POSITIVE, 0.2))
    for (column, name), (colour, shift) in zip(columns.items(), looks, strict=True):
        axes.bar(places + shift, table[column], 0.4, color=colour, label=name)
    names = style.short([str(name) for name in table["class"]])
    turned = max(map(len, names)) > 2
    axes.set_xticks(places, names, rotation=60 if turned else 0, ha="right" if turned else "center")
    axes.set_ylabel(label)
    axes.grid(False, axis="x")
    axes.margins(y=0.18)
    axes.legend(loc="upper center", fontsize=9, ncols=2, columnspacing=1.0, handlelength=1.2)


def overlaps(
    means: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    pairs: pd.DataFrame,
    title: str,
    data: str,
) -> Figure:
    """Posterior means (N, 2) by class, and where the most confused pairs of classes meet."""
    fig = style.figure(7.6, 7.2)
    axes = fig.subplots()
    order = np.random.default_rng(0).permutation(len(means))
    colours = np.array([style.CLASSES[label % len(style.CLASSES)] for label in labels])
    axes.scatter(means[order, 0], means[order, 1], c=colours[order], s=6, alpha=0.35, linewidths=0)
    reach = np.quantile(np.abs(means), 0.995) * 1.08
    rows = pairs[pairs["images"] > 0].head(MARKED).to_dict("records")
    listed = [
        f"{place}  {row['first']} and {row['second']}: {row['share']:.0%}"
        for place, row in enumerate(rows, 1)
    ]
    axes.text(
        0.015, 0.985, "\n".join(["most often confused", *listed]), transform=axes.transAxes, va="top",
        fontsize=10, bbox={"fc": "white", "ec": "none", "alpha": 0.85}, zorder=6,
    )  # fmt: skip
    written = {("pair", place): np.array([row["z1"], row["z2"]]) for place, row in enumerate(rows, 1)}
    written |= {("class", label): place for label, place in style.densest(means, labels).items()}
    for (kind, number), (x, y) in style.spread(written, 0.11 * reach).items():
        if kind == "pair":
            axes.plot(x, y, "o", ms=17, mfc="white", mec="black", mew=1.8, alpha=0.9, zorder=4)
            axes.text(
                x, y, str(number), ha="center", va="center", fontsize=10, fontweight="bold", zorder=5
            )  # fmt: skip
        else:
            axes.text(
                x, y, names[number], fontsize=13, ha="center", va="center",
                color="black", fontweight="bold",
                path_effects=[effects.withStroke(linewidth=3.5, foreground="white")],
            )  # fmt: skip
    axes.set(xlabel="$z_1$", ylabel="$z_2$", title=title, xlim=(-reach, reach), ylim=(-reach, reach))
    axes.set_aspect("equal")
    style.caption(
        fig, f"{len(means)} test images of binarized {data}; share of both classes' images confused"
    )
    return fig


def pair_matrix(table: pd.DataFrame, names: Sequence[str], title: str, data: str) -> Figure:
    """How faithful lines between classes are: from centre to centre below, between random latents above."""
    fig = style.figure(7.4, 6.6)
    axes = fig.subplots()
    values = np.full((len(names), len(names)), np.nan)
    numbers = {name: place for place, name in enumerate(names)}
    for row in table.to_dict("records"):
        first, second = numbers[row["first"]], numbers[row["second"]]
        values[second, first] = row["faithful"]
        values[first, second] = row["random_faithful"]
    shades = axes.imshow(values, cmap=style.RAMP, vmin=0, vmax=1)
    for row_at, column in np.ndindex(*values.shape):
        value = values[row_at, column]
        if row_at == column:
            axes.add_patch(Rectangle((column - 0.5, row_at - 0.5), 1, 1, color="#eeeeee"))
        elif np.isnan(value):
            axes.text(column, row_at, "–", ha="center", va="center", color="#777777")
        else:
            colour = "black" if value > 0.6 else "white"
            axes.text(column, row_at, f"{value:.0%}", ha="center", va="center", fontsize=9, color=colour)
    ticks = range(len(names))
    turned = max(map(len, names)) > 2
    axes.set_xticks(
        ticks, style.short(names), rotation=45 if turned else 0, ha="right" if turned else "center"
    )
    axes.set_yticks(ticks, style.short(names))
    axes.grid(False)
    axes.set_title(f"{title}\nbelow the diagonal: between class centres; above: random lines", fontsize=11)
    bar = fig.colorbar(shades, ax=axes, shrink=0.8)
    bar.set_label("share of steps that show one of the two classes")
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    style.caption(fig, f"verdicts of the images' classifier; trained on binarized {data}")
    return fig
