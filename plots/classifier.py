"""What a classifier learned: its data, its curves, its probabilities over the plane, its confusions."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from plots import style


def points(inputs: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> Figure:
    """Points (N, 2) of two classes."""
    fig, axes = style.subplots(5.6, 5.4)
    _scatter(axes, inputs, labels, names)
    axes.set(xlabel="$x_1$", ylabel="$x_2$", title="Two annuli", aspect="equal")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    return style.finish(fig, f"{len(inputs)} points")


def probability(
    surfaces: Sequence[tuple[str, np.ndarray]],
    extent: float,
    inputs: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
) -> Figure:
    """Surfaces (title, (n, n) of p(y=1|x) over a square, x_2 rising by row) with the points over them."""
    fig, axes = style.subplots(5.0 * len(surfaces) + 0.8, 5.6, 1, len(surfaces), sharey=True)
    for cell, (title, surface) in zip(axes, surfaces, strict=True):
        image = cell.imshow(
            surface, origin="lower", extent=(-extent, extent, -extent, extent), cmap=style.RAMP,
            vmin=0, vmax=1, alpha=0.9,
        )  # fmt: skip
        _scatter(cell, inputs, labels, names, edgecolors="white")
        cell.grid(False)
        cell.set(xlabel="$x_1$", title=title)
    axes[0].set_ylabel("$x_2$")
    fig.colorbar(image, ax=axes, label="p(positive | x)", shrink=0.85)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig


def curves(training: pd.DataFrame, title: str, data: str, *, steps: bool = False) -> Figure:
    """Loss on a log scale and accuracy by epoch, of each split in `training`.

    Args:
        training: columns `epoch`, `<split>_nll`, `<split>_accuracy`.
        steps: each epoch is one step of full-batch gradient descent, and the axis says so.
    """
    fig, (loss, accuracy) = style.subplots(9.6, 4.2, 1, 2)
    splits = [split for split in ("train", "test") if f"{split}_nll" in training]
    for split in splits:
        dashes = "--" if split == "train" and "test" in splits else "-"
        colour = style.FIRST if split == "train" else style.SECOND
        for axes, column, digits in ((loss, f"{split}_nll", ".2g"), (accuracy, f"{split}_accuracy", ".2%")):
            label = f"{split}: {training[column].iloc[-1]:{digits}} at the end"
            axes.plot(training["epoch"], training[column], dashes, color=colour, label=label)
    loss.set(yscale="log", ylabel="negative log-likelihood (nats)")
    accuracy.set(ylabel="accuracy")
    for axes, place in ((loss, "upper right"), (accuracy, "lower right")):
        axes.set_xlabel("gradient descent step" if steps else "epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc=place)
    return style.finish(fig, data, title)


def confusion(counts: np.ndarray, names: Sequence[str], method: str, data: str) -> Figure:
    """Counts (C, C) of actual (row) and predicted (column) classes; shades on a log scale show errors.

    Args:
        method: what predicts, and from what.
    """
    fig, axes = style.subplots(7.0, 6.6)
    shades = np.log1p(counts)
    axes.imshow(shades, cmap="Blues")
    axes.grid(False)
    for row, column in np.argwhere(counts):
        colour = "white" if shades[row, column] > 0.6 * shades.max() else "black"
        axes.text(
            column, row, f"{counts[row, column]:.0f}", ha="center", va="center", fontsize=9, color=colour
        )
    style.class_ticks(axes, names, 45, both=True)
    right = np.trace(counts) / counts.sum()
    axes.set(xlabel="predicted", ylabel="actual", title=f"Confusion matrix, {right:.2%} right:\n{method}")
    return style.finish(fig, f"{int(counts.sum())} binarized test images of {data}; shades on a log scale")


def _scatter(
    axes: Axes, inputs: np.ndarray, labels: np.ndarray, names: Sequence[str], edgecolors: str = "none"
) -> None:
    for label, (color, marker) in enumerate(((style.NEGATIVE, "o"), (style.POSITIVE, "^"))):
        x, y = inputs[labels == label].T
        axes.scatter(
            x, y, s=22, color=color, marker=marker, edgecolors=edgecolors, linewidths=0.6, label=names[label]
        )
