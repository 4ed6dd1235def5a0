"""What VAEs of images learned: their curves, their decoded images, and their plane of latents."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from plots import pictures, style

LETTERS = "ABC"  # of pairs of classes on the map
TILE = 56  # pixels a side, about, of a decoded image
PLANE = 560  # of a panel
GRID = (2, 20)  # decoded images a side of the plane, at least and at most
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
    images: np.ndarray,
    decoded: Mapping[str, np.ndarray],
    names: Sequence[str],
    shape: Sequence[int],
    data: str,
) -> Figure:
    """Binary images (N, pixels) above each model's means (N, pixels), decoded at the posterior's mean.

    Args:
        names: the classes of the images; none without labels.
        shape: height and width of an image.
    """
    rows = {"data": images, **decoded}
    left, columns = 20 + 13 * max(map(len, rows)), len(images)
    images, caption = np.concatenate(list(rows.values())), f"binarized test images of {data}"
    top = 40 if names else 12
    fig, axes, places, size = pictures.tiles(images, shape, columns, 84, (left, top), (12, 12), caption)
    high, wide = size
    for name, (_, y) in zip(rows, places[::columns], strict=True):
        axes.text(left - 12, y + high / 2, name, ha="right", va="center")
    for name, (x, y) in zip(names, places, strict=False):
        axes.text(x + wide / 2, y - 8, style.short(name, 9), ha="center", va="bottom",
                  fontsize=11 if max(map(len, names)) < 6 else 9)  # fmt: skip
    return fig


def grid_size(shape: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of the decoded images that fill the plane; `shape` is their height and width."""
    high, wide = (
        min(max(round(PLANE / side), GRID[0]), GRID[1]) for side in pictures.enlarged_size(shape, TILE)
    )
    return high, wide


def plane(
    means: np.ndarray,
    labels: np.ndarray | None,
    names: Sequence[str],
    pairs: pd.DataFrame,
    decoded: np.ndarray,
    shape: Sequence[int],
    extent: float,
    name: str,
    data: str,
) -> Figure:
    """Two maps of one square of latents: posterior means (N, 2) by class, and decoded means (n, pixels).

    Args:
        labels: (N,); None if there are none.
        pairs: `first`, `second`, `images` and `share` confused, `z1`, `z2`; the most confused first.
        decoded: at the centres of as many cells as `grid_size` says, row by row; the first row is that of the
            largest z_2, and lies on top.
        shape: height and width of an image.
    """
    rows, columns = grid_size(shape)
    tiles = pictures.enlarged(decoded, shape, TILE)
    high, wide = tiles.shape[1:]
    side = max(rows * high, columns * wide)  # pixels of a panel
    ink = np.zeros((side, side))
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        y, x = round((row + 0.5) * side / rows - high / 2), round((column + 0.5) * side / columns - wide / 2)
        ink[y : y + high, x : x + wide] = tile
    left, top, gap, bottom = 62, 40, 78, 78 if labels is None else 146
    width, height = left + 2 * side + gap + 20, top + side + bottom
    fig = Figure(figsize=(width / style.DPI, height / style.DPI))
    points, grid = (
        fig.add_axes((x / width, bottom / height, side / width, side / height))
        for x in (left, left + side + gap)
    )
    _points(points, means, labels, names, pairs, extent, side)
    about = "posterior means" if labels is None else "posterior means by class"
    style.latent_plane(points, f"{name}: {about}", extent)
    grid.imshow(ink, cmap=style.INK, vmin=0, vmax=1, interpolation="nearest", extent=(-extent, extent) * 2)
    style.latent_plane(grid, f"{name}: decoded latents", extent)
    text = _confused(pairs, "   ")
    fig.text(left / width, 80 / height, text, fontsize=10.5, va="top", linespacing=1.5)
    outside = style.percent(float((np.abs(means) > extent).any(axis=1).mean()), 1)
    caption = f"{len(means):,} binarized test images of {style.plain(data)}; {outside} lie outside"
    fig.text(1 - 20 / width, 8 / height, caption, ha="right", va="bottom", fontsize=9, color=style.QUIET)
    return fig


def projection(
    points: np.ndarray,
    shares: np.ndarray,
    labels: np.ndarray | None,
    names: Sequence[str],
    pairs: pd.DataFrame,
    name: str,
    data: str,
) -> Figure:
    """Posterior means by class on the first two principal components of wide latents, (N, 2).

    Args:
        shares: of the variance that each component has, (2,); NaN where that is not known.
        labels, names, pairs: as those of `plane`.
    """
    extent = 1.05 * max(float(np.abs(points).max()), 1e-3)
    left, top, bottom = 72, 40, 78 if labels is None else 206
    width, height = left + PLANE + 20, top + PLANE + bottom
    fig = Figure(figsize=(width / style.DPI, height / style.DPI))
    axes = fig.add_axes((left / width, bottom / height, PLANE / width, PLANE / height))
    _points(axes, points, labels, names, pairs, extent, PLANE)
    style.latent_plane(axes, f"{name}: posterior means{'' if labels is None else ' by class'}", extent)
    for axis, order, share in ((axes.xaxis, "first", shares[0]), (axes.yaxis, "second", shares[1])):
        about = "" if np.isnan(share) else f" ({style.percent(float(share))} of the variance)"
        axis.set_label_text(f"{order} principal component{about}")
    text = _confused(pairs, "\n").replace(" (", "\n(", 1)
    fig.text(left / width, 144 / height, text, fontsize=10.5, va="top", linespacing=1.3)
    caption = f"{len(points):,} binarized test images of {style.plain(data)}"
    fig.text(1 - 20 / width, 8 / height, caption, ha="right", va="bottom", fontsize=9, color=style.QUIET)
    return fig


def units(kl: Sequence[float], active: Sequence[bool | None], name: str, data: str) -> Figure:
    """The KL divergence of each dimension (nats per image), the largest first; the active ones are darker.

    Args:
        active: None where one image does not tell.
    """
    order = np.argsort(-np.asarray(kl), kind="stable")
    count = len(order)
    fig, axes = style.subplots(float(np.clip(0.2 * count + 2.5, 5.2, 9.2)), 3.4)
    for state, label, colour, hatch in (
        (True, "active", style.FIRST, ""),
        (False, "not active", "#BBBBBB", "///"),
        (None, "not known if active", style.FIRST, "..."),
    ):
        places = [place for place, unit in enumerate(order) if active[unit] is state]
        heights = [kl[order[place]] for place in places]
        if places:
            axes.bar(
                places,
                heights,
                0.8,
                color=colour,
                hatch=hatch,
                ec="white",
                lw=0,
                label=f"{label}: {len(places)}",
            )
    if count <= 40:
        axes.set_xticks(range(count), [str(unit + 1) for unit in order], fontsize=8 if count > 20 else 10)
    else:
        axes.set_xticks([])
    axes.set(xlabel="dimension of the latent", ylabel="KL (nats per image)", xlim=(-0.7, count - 0.3))
    axes.grid(False, axis="x")
    axes.set_title(f"{name}: {style.number(float(np.sum(kl)))} nats in all")
    axes.legend(loc="upper right")
    return style.finish(fig, f"means over binarized test images of {data}")


def _listed(pairs: pd.DataFrame) -> list[tuple[str, Mapping[Any, Any]]]:
    """The most confused pairs with their letters."""
    return list(zip(LETTERS, pairs[pairs["images"] > 0].to_dict("records"), strict=False))


def _confused(pairs: pd.DataFrame, between: str) -> str:
    """The legend of the letters: a line that says what they are, and the pairs with a text between them."""
    texts = []
    for letter, row in _listed(pairs):
        pair = f"{style.short(row['first'])} and {style.short(row['second'])}"
        texts.append(f"{letter}  {pair}: {style.percent(row['share'])}".ljust(29))
    about = "Most often confused by their nearest neighbours (share of both classes' images):\n"
    return about + between.join(texts) if texts else ""


def _points(
    axes: Axes,
    means: np.ndarray,
    labels: np.ndarray | None,
    names: Sequence[str],
    pairs: pd.DataFrame,
    extent: float,
    side: int,
) -> None:
    """Points (N, 2) by class, with the names of the classes and the letters of the most confused pairs."""
    if labels is None:
        _scatter(axes, means, np.full(len(means), style.FIRST), extent, side)
        return
    _scatter(axes, means, np.array(style.CLASSES)[labels % len(style.CLASSES)], extent, side)
    scale = side / style.DPI / (2 * extent)
    texts = {("pair", letter): (letter, np.array([row["z1"], row["z2"]])) for letter, row in _listed(pairs)}
    texts |= {("class", names[label]): (style.short(names[label]), place)
              for label, place in style.densest(means, labels).items()}  # fmt: skip
    large = 9.0 if len(names) > style.MANY_CLASSES else 12.0 if max(map(len, names)) > 2 else 15.0
    sizes = {key: style.text_size(text, large + 2, scale) for key, (text, _) in texts.items()}
    for key, (x, y) in style.spread({key: place for key, (_, place) in texts.items()}, sizes, extent).items():
        if key[0] == "pair":
            box = {"boxstyle": "square,pad=0.2", "fc": "white", "ec": "black", "lw": 1.2}
            axes.text(
                x, y, key[1], ha="center", va="center", fontsize=10.5, weight="bold", bbox=box, zorder=7
            )
        else:
            style.outlined_text(axes, x, y, texts[key][0], size=large)


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


def verdicts(
    decoded: np.ndarray, table: pd.DataFrame, shape: Sequence[int], columns: int, title: str, data: str
) -> Figure:
    """Decoded means (N, pixels) above the class that the judge sees; unsure ones with its confidence.

    Args:
        table: `verdict`, `confidence` and `sure` of each image, in their order; no rows without a judge.
        shape: height and width of an image.
    """
    caption = f"class by the judge; red: unsure, with its confidence in %; binarized {data}"
    if table.empty:
        return pictures.tiles(decoded, shape, columns, TILE, (12, 44), (8, 8), f"binarized {data}", title)[0]
    long = max(map(len, table["verdict"])) > 2
    margins, room = (18 if long else 12, 44), (26, 42) if long else (18, 28)
    fig, axes, places, size = pictures.tiles(decoded, shape, columns, TILE, margins, room, caption, title)
    high, wide = size
    found = table[["verdict", "confidence", "sure"]].itertuples(index=False)
    for (x, y), (verdict, confidence, sure) in zip(places, found, strict=True):
        text, colour = style.short(verdict, 10), "black" if sure else UNSURE
        if not sure:
            text += f"{chr(10) if long else ''}? {confidence * 100:.0f}"
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), wide + 1, high + 1, fill=False, ec=UNSURE, lw=2.2))
        axes.text(
            round(x + wide / 2), y + high + 4, text, ha="center", va="top", color=colour, linespacing=1,
            fontsize=8 if long else 11, fontweight="normal" if sure or long else "bold",
        )  # fmt: skip
    return fig
