"""What a classifier confuses."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from plots import style


def confusion(tables: Mapping[str, np.ndarray], names: Sequence[str], caption: str) -> Figure:
    """Counts (C, C) of actual (row) and predicted (column) classes by title; shades are logarithmic.

    With many classes the shades stand without their counts.
    """
    many = len(names) > style.MANY_CLASSES
    side = max(4.8, 0.17 * len(names))
    fig, cells = style.panels(len(tables), side, side + 0.7, layout="compressed")
    size = 8.5 if max(int(counts.max()) for counts in tables.values()) < 10_000 else 7
    for axes, (title, counts) in zip(cells, tables.items(), strict=True):
        shades = np.round(9 * np.log1p(counts) / np.log1p(counts.max())) / 9
        axes.imshow(shades, cmap="Blues")
        axes.grid(False)
        for row, column in np.argwhere(counts) if not many else ():
            colour = "white" if shades[row, column] > 0.6 else "black"
            count = f"{counts[row, column]:,.0f}"
            axes.text(column, row, count, ha="center", va="center", fontsize=size, color=colour)
        style.class_ticks(axes, names, 45, both=True)
        right = style.percent(np.trace(counts) / counts.sum(), 2)
        axes.set(xlabel="predicted", ylabel="actual", title=f"{title}: {right} correct")
    return style.finish(fig, f"{int(counts.sum()):,} binarized test images of {caption}")
