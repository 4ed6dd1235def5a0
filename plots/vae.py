"""What VAEs of images learned: their curves, their decoded images, and their plane of latents."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from plots import style

LETTERS = "ABC"  # of pairs of classes on the map
TILE = 56  # pixels a side, about, of a decoded image
PLANE = 560  # of a panel
UNSURE = "#9a3546"
MANY, DOT = 2000, 3  # from so many points on, each is a square of so many pixels


def elbo_curves(trainings: Mapping[str, pd.DataFrame], notebook: pd.DataFrame | None, data: str) -> Figure:
    """Test and train ELBO by epoch, over the notebook's where that trained on the same data.

    Args:
        trainings, notebook: columns `epoch`, `train_elbo`, `test_elbo`.
    """
    fig, cells = style.panels(2, *style.PANEL, sharey=True)
    runs = [(table, name, look) for (name, table), look in zip(
        trainings.items(), style.looks(list(trainings)).values(), strict=True)]  # fmt: skip
    if notebook is not None:
        runs.insert(0, (notebook, "reference", style.Look(style.REFERENCE, "-", "x")))
    # the first epochs would flatten the rest; what lies below the frame is in the csv
    columns = ["train_elbo", "test_elbo"]
    shown = [table[columns].to_numpy()[min(1, len(table) - 1) :].ravel() for table, *_ in runs]
    low, high = np.concatenate(shown).min(), np.concatenate(shown).max()
    room = 0.05 * max(high - low, 1)
    cells[0].set_ylim(low - room, high + room)
    for axes, split in zip(cells, ("test", "train"), strict=True):
        for table, name, look in runs:
            axes.plot(
                table["epoch"], table[f"{split}_elbo"], color=look.colour, ls=look.dashes, lw=1.4,
                marker=look.marker, ms=4, label=name,
            )  # fmt: skip
        epochs = max(len(table) for table, *_ in runs)
        axes.set_xlim(0, 1.22 * epochs)  # with room for the last values
        last = [float(table[f"{split}_elbo"].iloc[-1]) for table, *_ in runs]
        style.texts_beside(axes, epochs, last, [style.number(value, 1) for value in last])
        style.round_ticks(axes.xaxis, epochs)
        axes.set(xlabel="epoch", title=f"{split} images")
    cells[0].set_ylabel("ELBO (nats per image)")
    style.legend_above(fig, cells[0].get_legend_handles_labels()[0])
    return style.finish(fig, f"binarized {data}")


def reconstructions(
    images: np.ndarray, decoded: Mapping[str, np.ndarray], names: Sequence[str], data: str
) -> Figure:
    """Binary images (N, pixels) above each model's means (N, pixels), decoded at the posterior's mean."""
    rows = {"data": images, **decoded}
    left, columns = 20 + 13 * max(map(len, rows)), len(images)
    pictures, caption = np.concatenate(list(rows.values())), f"binarized test images of {data}"
    fig, axes, places, side = style.tiles(pictures, columns, 84, (left, 40), (12, 12), caption)
    for name, (_, y) in zip(rows, places[::columns], strict=True):
        axes.text(left - 12, y + side / 2, name, ha="right", va="center")
    for name, (x, y) in zip(names, places, strict=False):
        axes.text(x + side / 2, y - 8, style.short(name, 9), ha="center", va="bottom",
                  fontsize=11 if max(map(len, names)) < 6 else 9)  # fmt: skip
    return fig


def plane(
    means: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    pairs: pd.DataFrame,
    decoded: np.ndarray,
    extent: float,
    name: str,
    data: str,
) -> Figure:
    """Two maps of one square of latents: posterior means (N, 2) by class, and decoded means (n², pixels).

    Args:
        pairs: `first`, `second`, `images` and `share` confused, `z1`, `z2`; the most confused first.
        decoded: at the centres of n² cells; the first row is that of the largest z_2, and lies on top.
    """
    columns = round(len(decoded) ** 0.5)
    tiles = style.enlarged(decoded, PLANE // columns)
    side = tiles.shape[1] * columns  # pixels of a panel, a whole multiple of those of an image
    shape = (columns, columns, *tiles.shape[1:])
    ink = tiles.reshape(shape).transpose(0, 2, 1, 3).reshape(side, side)
    listed = list(zip(LETTERS, pairs[pairs["images"] > 0].to_dict("records"), strict=False))
    long = max(map(len, names)) > 2
    left, top, gap, bottom = 62, 40, 78, 146
    width, height = left + 2 * side + gap + 20, top + side + bottom
    fig = Figure(figsize=(width / style.DPI, height / style.DPI))
    points, grid = (
        fig.add_axes((x / width, bottom / height, side / width, side / height))
        for x in (left, left + side + gap)
    )
    _scatter(points, means, np.array(style.CLASSES)[labels % len(style.CLASSES)], extent, side)
    scale = side / style.DPI / (2 * extent)
    texts = {("pair", letter): (letter, np.array([row["z1"], row["z2"]])) for letter, row in listed}
    texts |= {("class", names[label]): (style.short(names[label]), place)
              for label, place in style.densest(means, labels).items()}  # fmt: skip
    sizes = {key: style.text_size(text, 14 if long else 17, scale) for key, (text, _) in texts.items()}
    for key, (x, y) in style.spread({key: place for key, (_, place) in texts.items()}, sizes, extent).items():
        if key[0] == "pair":
            box = {"boxstyle": "square,pad=0.2", "fc": "white", "ec": "black", "lw": 1.2}
            points.text(x, y, key[1], ha="center", va="center", fontsize=10.5, weight="bold", bbox=box,
                        zorder=7)  # fmt: skip
        else:
            style.outlined_text(points, x, y, texts[key][0], size=12 if long else 15)
    style.latent_plane(points, f"{name}: posterior means by class", extent)
    grid.imshow(ink, cmap=style.INK, vmin=0, vmax=1, interpolation="nearest", extent=(-extent, extent) * 2)
    style.latent_plane(grid, f"{name}: decoded latents", extent)
    text = "Most often confused by their nearest neighbours (share of both classes' images):\n"
    for letter, row in listed:
        pair = f"{style.short(row['first'])} and {style.short(row['second'])}"
        text += f"{letter}  {pair}: {style.percent(row['share'])}".ljust(32)
    fig.text(left / width, 80 / height, text if listed else "", fontsize=10.5, va="top", linespacing=1.5)
    outside = style.percent(float((np.abs(means) > extent).any(axis=1).mean()), 1)
    caption = f"{len(means):,} binarized test images of {data}; {outside} lie outside"
    fig.text(1 - 20 / width, 8 / height, caption, ha="right", va="bottom", fontsize=9, color=style.QUIET)
    return fig


def _scatter(axes: Axes, points: np.ndarray, colours: np.ndarray, extent: float, side: int) -> None:
    """Points (N, 2) in random order, so that no class hides another; many on a lattice, for a small file."""
    order = np.random.default_rng(0).permutation(len(points))
    if len(points) < MANY:
        x, y = points[order].T
        axes.scatter(x, y, c=colours[order], s=20 * (MANY / len(points)) ** 0.4, linewidths=0)
        return
    count = side // DOT
    cells = np.floor((points[order] + extent) / (2 * extent) * count).astype(int)
    inside = ((cells >= 0) & (cells < count)).all(axis=1)
    lattice = np.ones((count, count, 3))
    lattice[cells[inside, 1], cells[inside, 0]] = to_rgba_array(colours[order][inside])[:, :3]
    square = (-extent, extent) * 2
    axes.imshow(lattice, origin="lower", extent=square, interpolation="nearest")


def verdicts(decoded: np.ndarray, table: pd.DataFrame, columns: int, title: str, data: str) -> Figure:
    """Decoded means (N, pixels) above the class that the judge sees; unsure ones with its confidence.

    Args:
        table: `verdict`, `confidence` and `sure` of each image, in their order.
    """
    long = max(map(len, table["verdict"])) > 2
    caption = f"class by the judge; red: unsure, with its confidence in %; binarized {data}"
    margins, room = (12, 44), (18, 42 if long else 28)
    fig, axes, places, side = style.tiles(decoded, columns, TILE, margins, room, caption, title)
    found = table[["verdict", "confidence", "sure"]].itertuples(index=False)
    for (x, y), (verdict, confidence, sure) in zip(places, found, strict=True):
        text, colour = style.short(verdict, 10), "black" if sure else UNSURE
        if not sure:
            text += f"?{chr(10) if long else ' '}{confidence * 100:.0f}"
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), side + 1, side + 1, fill=False, ec=UNSURE, lw=2.2))
        axes.text(
            round(x + side / 2), y + side + 4, text, ha="center", va="top", color=colour, linespacing=1,
            fontsize=8 if long else 11, fontweight="normal" if sure else "bold",
        )  # fmt: skip
    return fig
