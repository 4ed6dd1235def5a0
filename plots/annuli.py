"""A classifier of points: its probabilities over the plane, and how it learned."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from plots import style

SURFACE = LinearSegmentedColormap.from_list("surface", ("#7B72B5", "#FFF4E0"))  # lighter than the points


def probability(
    surfaces: Mapping[str, np.ndarray],
    extent: float,
    inputs: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
) -> Figure:
    """Surfaces (n, n) of p(y=1|x) over a square, x_2 rising by row, by title; with the points over them."""
    fig, cells = style.panels(len(surfaces), 4.2, 4.7, layout="compressed", sharey=True)
    size = float(np.clip(11_000 / len(inputs), 5, 30))
    for axes, (title, surface) in zip(cells, surfaces.items(), strict=True):
        square = (-extent, extent) * 2
        levels = np.linspace(0, 1, 11)
        image = axes.contourf(surface, levels, extent=square, cmap=SURFACE, vmin=0, vmax=1, antialiased=False)
        for label, (colour, marker) in enumerate(((style.FIRST, "o"), ("#D9701A", "^"))):
            x, y = inputs[labels == label].T
            axes.scatter(
                x, y, s=size, color=colour, marker=marker, edgecolors="white",
                linewidths=0.5, label=names[label],
            )  # fmt: skip
        axes.grid(False)
        axes.set(xlabel="$x_1$", title=title, aspect="equal")
    cells[0].set_ylabel("$x_2$")
    fig.colorbar(image, ax=cells, label=f"p({names[1]} | x)", shrink=0.85, ticks=levels[::2])
    style.legend_above(fig, cells[0].get_legend_handles_labels()[0])
    return style.finish(fig, f"{len(inputs):,} points")


def curves(training: pd.DataFrame, data: str, *, steps: bool = False) -> Figure:
    """Loss on a log scale and accuracy by epoch, of each split in `training`.

    Args:
        training: columns `epoch`, `<split>_nll`, `<split>_accuracy`.
        steps: each epoch is one step of full-batch gradient descent, and the axis says so.
    """
    fig, (loss, accuracy) = style.panels(2, style.PANEL[0], 3.6)
    splits = [split for split in ("train", "test") if f"{split}_nll" in training]
    for split in splits:
        dashes = "--" if split == "train" and "test" in splits else "-"
        colour = style.FIRST if split == "train" else style.SECOND
        for axes, column, digits in ((loss, f"{split}_nll", ".2g"), (accuracy, f"{split}_accuracy", ".2%")):
            label = f"{split}: {training[column].iloc[-1]:{digits}} at the end".replace("%", " %")
            axes.plot(training["epoch"], training[column], dashes, color=colour, label=label)
    loss.set(yscale="log", ylabel="negative log-likelihood (nats)")
    accuracy.set(ylabel="classified correctly")
    style.percent_ticks(accuracy.yaxis)
    for axes, place in ((loss, "upper right"), (accuracy, "lower right")):
        axes.set_xlabel("gradient descent step" if steps else "epoch")
        style.round_ticks(axes.xaxis)
        axes.legend(loc=place)
    return style.finish(fig, data)
