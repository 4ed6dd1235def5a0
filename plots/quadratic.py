"""Paths and losses of optimizers on a quadratic."""

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from plots import style

FLOOR = 1e-20  # losses below are rounding
SMALLEST = 1e-6
DASHES = ("-", "--", ":", "-.")


def loss(trajectory: pd.DataFrame, lr: float, title: str) -> Figure:
    """The loss of gradient descent by iteration."""
    fig, axes = style.subplots(6.6, 4.0)
    axes.plot(trajectory["iteration"], trajectory["log10_loss"], color=style.FIRST)
    axes.axhline(-2, color=style.REFERENCE, lw=1.2, ls="--")
    axes.annotate(
        "0.01", (1, -2), xycoords=("axes fraction", "data"), va="bottom", ha="right", color="#555555"
    )
    axes.set(xlabel="iteration", ylabel="log10 loss", title=f"Gradient descent, step size {lr:g}: {title}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return fig


def path(trajectory: pd.DataFrame, a: Sequence[float], lr: float, title: str) -> Figure:
    """The path of gradient descent in the plane, over contours of the loss."""
    fig, axes = style.subplots(6.6, 5.6)
    points = trajectory[["x1", "x2"]].to_numpy()
    reach = 1.2 * np.abs(points[np.isfinite(points).all(axis=1)]).max()
    line = np.linspace(-reach, reach, 201)
    first, second = np.meshgrid(line, line)
    height = np.sqrt(a[0] * first**2 + a[1] * second**2)  # contours of its square, evenly wide
    axes.contour(first, second, height, levels=14, cmap="Greys_r", linewidths=0.8, alpha=0.7)
    axes.plot(*points.T, "-", color=style.FIRST, lw=1.2)
    looks = {"cmap": style.RAMP, "s": 26, "zorder": 3, "edgecolors": "white", "lw": 0.4}
    axes.scatter(*points.T, c=np.arange(len(points)), **looks)
    axes.plot(0, 0, "+", color=style.SECOND, ms=13, mew=2.5, label="minimum")
    axes.plot(*points[0], "s", color=style.FIRST, ms=8, label="start")
    axes.set(xlabel="$x_1$", ylabel="$x_2$", title=f"Path, step size {lr:g}: {title}", aspect="equal")
    axes.legend(loc="lower left", frameon=True, framealpha=0.9, edgecolor="none")
    axes.grid(False)
    return fig


def coordinates(trajectory: pd.DataFrame, a: Sequence[float], lr: float, title: str) -> Figure:
    """The absolute value of each coordinate by iteration, for quadratics of more than two dimensions."""
    fig, axes = style.subplots(7.4, 4.6)
    colours = matplotlib.colormaps[style.RAMP](np.linspace(0, 0.92, len(a)))
    for number, (curvature, colour) in enumerate(zip(a, colours, strict=True), 1):
        values = trajectory[f"x{number}"].abs()
        values = values.where(values > SMALLEST)
        axes.semilogy(trajectory["iteration"], values, color=colour, label=f"{curvature:.3g}", lw=1.6)
    axes.set(xlabel="iteration", ylabel="size of the coordinate")
    axes.set_title(f"Gradient descent, step size {lr:g}: {title}")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9.5, title="curvature")
    return style.finish(fig, f"cut off at {SMALLEST:g}, the last decimal of the table")


def optimizers(losses: pd.DataFrame, comparison: pd.DataFrame, title: str) -> Figure:
    """The loss of each optimizer by iteration, each at the best of its step sizes.

    Args:
        losses: `iteration`, and a column of log10 losses for each optimizer.
        comparison: `optimizer`, `lr`.
    """
    fig, axes = style.subplots(8.6, 4.8)
    for place, (name, lr) in enumerate(comparison[["optimizer", "lr"]].itertuples(index=False)):
        colour = style.CLASSES[place % len(style.CLASSES)]
        dashes = DASHES[place % len(DASHES)]
        values = losses[name].clip(lower=np.log10(FLOOR))
        axes.plot(losses["iteration"], values, dashes, color=colour, label=f"{name}, {lr:g}")
    axes.axhline(-2, color=style.REFERENCE, lw=1.2, label="0.01, asked for")
    title = f"Optimizers, each at its best step size: {title}"
    axes.set(xlabel="iteration", ylabel="log10 loss", title=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9.5, title="optimizer, step size")
    return style.finish(fig, "cut off at 1e-20")
