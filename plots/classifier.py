"""What a classifier learned: its data, its curves, its surface of probability, its confusions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from plots import style


def points(inputs: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> Figure:
    """Points (N, 2) of two classes."""
    fig = style.figure(5.6, 5.4)
    axes = fig.subplots()
    _scatter(axes, inputs, labels, names)
    axes.set(xlabel="$x_1$", ylabel="$x_2$", title="Two annuli", aspect="equal")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    style.caption(fig, f"{len(inputs)} points")
    return fig


def probability(
    surfaces: Sequence[tuple[str, np.ndarray]],
    extent: float,
    inputs: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
) -> Figure:
    """Surfaces (title, (n, n) of p(y=1|x) over a square, x_2 rising by row) with the points over them."""
    fig = style.figure(5.0 * len(surfaces) + 0.8, 5.6)
    axes = fig.subplots(1, len(surfaces), sharey=True)
    for cell, (title, surface) in zip(axes, surfaces, strict=True):
        image = cell.imshow(
            surface, origin="lower", extent=(-extent, extent, -extent, extent), cmap=style.RAMP,
            vmin=0, vmax=1, alpha=0.9,
        )  # fmt: skip
        _scatter(cell, inputs, labels, names, edge="white")
        cell.grid(False)
        cell.set(xlabel="$x_1$", title=title)
    axes[0].set_ylabel("$x_2$")
    fig.colorbar(image, ax=axes, label="p(positive | x)", shrink=0.85)
    handles, texts = axes[0].get_legend_handles_labels()
    fig.legend(handles, texts, loc="outside lower center", ncols=2)
    return fig


def curves(training: pd.DataFrame, title: str, data: str, *, steps: bool = False) -> Figure:
    """Loss on a log scale and accuracy by epoch, of each split in `training`.

    Args:
        training: columns `epoch`, `<split>_nll`, `<split>_accuracy`.
        steps: an epoch is one step of full-batch gradient descent; say so.
    """
    fig = style.figure(9.6, 4.2)
    loss, accuracy = fig.subplots(1, 2)
    alone = "test_nll" not in training
    for split, colour, dashes in (
        ("train", style.FIRST, "-" if alone else "--"),
        ("test", style.SECOND, "-"),
    ):
        if f"{split}_nll" in training:
            label = f"{split}: {training[f'{split}_nll'].iloc[-1]:.2g} at the end"
            loss.plot(training["epoch"], training[f"{split}_nll"], dashes, color=colour, label=label)
            label = f"{split}: {training[f'{split}_accuracy'].iloc[-1]:.2%} at the end"
            accuracy.plot(training["epoch"], training[f"{split}_accuracy"], dashes, color=colour, label=label)
    loss.set(yscale="log", ylabel="negative log-likelihood (nats)")
    accuracy.set(ylabel="accuracy")
    for axes, place in ((loss, "upper right"), (accuracy, "lower right")):
        axes.set_xlabel("gradient descent step" if steps else "epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc=place)
    fig.suptitle(title, fontsize=12)
    style.caption(fig, data)
    return fig


def confusion(counts: np.ndarray, names: Sequence[str], method: str, data: str) -> Figure:
    """Counts (C, C) of actual (row) and predicted (column) classes; shades on a log scale show errors.

    Args:
        method: what predicts, and from what.
    """
    fig = style.figure(7.0, 6.6)
    axes = fig.subplots()
    axes.imshow(np.log1p(counts), cmap="Blues")
    axes.grid(False)
    top = np.log1p(counts).max()
    for row, column in np.ndindex(*counts.shape):
        count = int(counts[row, column])
        if count:
            light = np.log1p(count) > 0.6 * top
            axes.text(
                column, row, str(count), ha="center", va="center", fontsize=9,
                color="white" if light else "black",
            )  # fmt: skip
    ticks = range(len(names))
    turned = max(map(len, names)) > 2
    axes.set_xticks(
        ticks, style.short(names), rotation=45 if turned else 0, ha="right" if turned else "center"
    )
    axes.set_yticks(ticks, style.short(names))
    right = np.trace(counts) / counts.sum()
    axes.set(xlabel="predicted", ylabel="actual", title=f"Confusion matrix, {right:.2%} right:\n{method}")
    style.caption(fig, f"{int(counts.sum())} binarized test images of {data}; shades on a log scale")
    return fig


def _scatter(
    axes: Axes, inputs: np.ndarray, labels: np.ndarray, names: Sequence[str], edge: str = "none"
) -> None:
    looks = ((style.NEGATIVE, "o"), (style.POSITIVE, "^"))
    for label, (colour, marker) in enumerate(looks):
        rows = inputs[labels == label]
        axes.scatter(
            rows[:, 0],
            rows[:, 1],
            s=22,
            color=colour,
            marker=marker,
            edgecolors=edge,
            linewidths=0.6,
            label=names[label],
        )
