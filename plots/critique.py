"""How a classifier judges VAEs' samples, reconstructions and planes of latents."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from plots import style

THICK = 5  # grid points from the middle of a region to its edge, from which on its name fits


def by_class(tables: Mapping[str, pd.DataFrame], data: str) -> Figure:
    """For each class and model: its share of samples, its pixel entropy, its share classified as another.

    Args:
        tables: of each model, `class`, `share`, `share_of_data`, `pixel_entropy`,
            `pixel_entropy_of_reconstructions`, `reconstructed_as_other`, `judge_error`.
    """
    count = len(next(iter(tables.values())))
    fig, cells = style.panels(4, style.PANEL[0], 3.0, count)
    what = (
        ("share", "share of the samples", "share_of_data"),
        ("reconstructed_as_other", "reconstructions judged as another class", "judge_error"),
        ("pixel_entropy", "entropy of samples (nats per pixel)", None),
        ("pixel_entropy_of_reconstructions", "entropy of reconstructions (nats per pixel)", None),
    )
    for axes, (column, title, base) in zip(cells, what, strict=True):
        _dots(axes, tables, column, base)
        axes.set(title=title, xlabel="class" if base is None else "")
    style.percent_ticks(cells[0].yaxis, cells[1].yaxis)
    found = style.looks(list(tables))
    mark = Line2D(
        [], [], color=style.REFERENCE, ls="", marker="_", ms=13, mew=2.5, label="data (upper panels)"
    )
    style.legend_above(fig, [*style.keys(found, lines=False), mark])
    return style.finish(fig, f"classes by the judge; binarized {data}")


def _dots(axes: Axes, tables: Mapping[str, pd.DataFrame], column: str, base: str | None) -> None:
    places = np.arange(len(next(iter(tables.values()))))
    if base:
        table = next(iter(tables.values()))
        axes.plot(places, table[base], "_", color=style.REFERENCE, ms=19, mew=2.5, zorder=1.5)
    shifts = np.linspace(-1, 1, len(tables)) * 0.1 * (len(tables) - 1) if len(tables) > 1 else [0.0]
    for (table, look), shift in zip(
        zip(tables.values(), style.looks(list(tables)).values(), strict=True), shifts, strict=True
    ):
        axes.vlines(places + shift, 0, table[column], color=look.colour, lw=1.1, alpha=0.6)
        axes.plot(places + shift, table[column], look.marker, color=look.colour, ms=5.5)
    style.class_ticks(axes, [str(name) for name in table["class"]])
    axes.set_ylim(bottom=0)
    axes.set_xlim(-0.6, len(places) - 0.4)
    axes.grid(False, axis="x")


def regions(
    maps: Mapping[str, tuple[np.ndarray, np.ndarray]],
    names: Sequence[str],
    extent: float,
    sure: float,
    data: str,
) -> Figure:
    """The class that the classifier sees in the decoded image at each point of the plane.

    Args:
        maps: of each model, the class and its probability at (n, n) latents; z_2 rises with the row.
        sure: places below this probability are lighter.
    """
    fig, cells = style.panels(len(maps), 4.2, 4.7, layout="compressed", sharex=True, sharey=True)
    for axes, (name, (labels, confidence)) in zip(cells, maps.items(), strict=True):
        shades = np.array([to_rgb(style.CLASSES[label % len(style.CLASSES)]) for label in range(len(names))])
        colours = 0.35 + 0.65 * shades[labels]
        colours[confidence < sure] = 0.6 + 0.4 * colours[confidence < sure]
        square = (-extent, extent) * 2
        axes.imshow(colours, origin="lower", extent=square, interpolation="nearest")
        line = np.linspace(-extent, extent, len(labels))
        for label in np.unique(labels):
            axes.contour(
                line, line, labels == label, [0.5], colors="#222222", linewidths=0.7, antialiased=False
            )
        texts, places = {}, {}
        for number, (label, row, column) in enumerate(_middles(labels)):
            texts[number], places[number] = style.short(names[label]), np.array([line[column], line[row]])
        size = 13 if max(map(len, names)) < 3 else 10
        sizes = {key: style.text_size(text, size, 3.5 / (2 * extent)) for key, text in texts.items()}
        for key, (x, y) in style.spread(places, sizes, extent).items():
            style.outlined_text(axes, x, y, texts[key], size=size)
        unsure = style.percent(float((confidence < sure).mean()))
        style.latent_plane(axes, f"{name}: {unsure} lighter", extent)
    caption = f"lighter: classifier confidence below {style.percent(sure)}; binarized {data}"
    return style.finish(fig, caption)


def _middles(labels: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Class, row and column of the innermost point of each region of labels (n, n) with room for a name."""
    for label in np.unique(labels):
        inside = np.pad(labels == label, 1)
        depth = np.zeros(inside.shape, dtype=int)
        left = inside.copy()
        while left.any():
            depth += left
            left = left & ~_grown(~left)
        while (deepest := int(depth.max())) >= THICK:
            row, column = np.argwhere(depth == deepest).mean(0)  # of a ridge, the middle, if that is on it
            ridge = np.argwhere(depth == deepest)
            row, column = ridge[np.linalg.norm(ridge - [row, column], axis=1).argmin()]
            yield int(label), int(row) - 1, int(column) - 1
            region = np.zeros_like(inside)
            region[row, column] = True
            while (grown := _grown(region) & inside).sum() > region.sum():
                region = grown
            depth[region] = 0


def _grown(mask: np.ndarray) -> np.ndarray:
    """The points of a mask (n, n) and their neighbours."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown
