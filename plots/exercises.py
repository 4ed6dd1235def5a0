"""Problems 1 and 2: paths and losses of optimizers on a quadratic; a classifier of points in the plane."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from plots import style

FLOOR = -20  # log10 of losses that are rounding below it
SMALLEST = 1e-5  # of a coordinate; the table has six decimals
DASHES = ("-", "--", ":", "-.")
LINEAR = 100  # iterations, at most, on a linear axis
TARGET = -2  # log10 of the loss that the exercise asks for
SURFACE = LinearSegmentedColormap.from_list("surface", ("#7B72B5", "#FFF4E0"))  # lighter than the points


def optimizers(
    trajectory: pd.DataFrame, losses: pd.DataFrame, comparison: pd.DataFrame, a: Sequence[float], lr: float
) -> Figure:
    """Gradient descent's path, or its coordinates in more than two dimensions; the loss of each optimizer.

    Args:
        trajectory: of gradient descent with step size `lr`: `iteration`, and `x1`, `x2`, … .
        losses: `iteration`, and a column of log10 losses for each optimizer, at the best of its step sizes.
        comparison: `optimizer`, `lr`.
    """
    fig, (left, right) = style.subplots(10.6, 3.9, 1, 2)
    left.set_title(f"Gradient descent, step size {lr:g}")
    (_path if len(a) == 2 else _coordinates)(left, trajectory, a)
    _losses(right, losses, comparison)
    return fig


def _path(axes: Axes, trajectory: pd.DataFrame, a: Sequence[float]) -> None:
    """The path in the plane, over contours of the loss."""
    points = trajectory[["x1", "x2"]].to_numpy()
    reach = 1.2 * np.abs(points[np.isfinite(points).all(axis=1)]).max()
    line = np.linspace(-reach, reach, 201)
    first, second = np.meshgrid(line, line)
    height = np.sqrt(a[0] * first**2 + a[1] * second**2)  # contours of its square, evenly wide
    axes.contour(first, second, height, levels=12, colors="#bbbbbb", linewidths=0.8)
    axes.plot(*points.T, "o-", color=style.FIRST, lw=1.2, ms=4, label="steps")
    axes.plot(*points[0], "s", color=style.FIRST, ms=9, label="start")
    axes.plot(0, 0, "+", color=style.SECOND, ms=14, mew=3, label="minimum")
    axes.set(xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
    axes.legend(loc="upper left", frameon=True, framealpha=0.9, edgecolor="none", fontsize=9.5)
    axes.grid(False)


def _coordinates(axes: Axes, trajectory: pd.DataFrame, a: Sequence[float]) -> None:
    """The absolute value of each coordinate by iteration, its curvature at the line's end."""
    colours = matplotlib.colormaps[style.RAMP](np.linspace(0, 0.9, len(a)))
    iteration = trajectory["iteration"].to_numpy()
    ends: dict[str, float] = {}
    for number, (curvature, colour) in enumerate(zip(a, colours, strict=True), 1):
        values = trajectory[f"x{number}"].abs().to_numpy()
        shown = (values > SMALLEST) | (iteration == 0)
        axes.plot(iteration[shown], np.log10(values[shown]), color=colour, lw=1.6)
        if shown[-1]:
            ends[f"{curvature:.3g}"] = float(np.log10(values[-1]))
        else:
            end = iteration[shown][-1], np.log10(values[shown][-1])
            axes.annotate(f"{curvature:.3g}", end, (4, 0), textcoords="offset points", fontsize=9)
    _iterations(axes, iteration[-1])
    axes.yaxis.set_major_formatter(lambda value, _: _power(value))
    axes.set(ylabel=f"|coordinate|, not drawn below {_power(round(np.log10(SMALLEST)))}")
    style.texts_beside(axes, iteration[-1], list(ends.values()), list(ends), size=9)


def _iterations(axes: Axes, last: int) -> None:
    """An axis that begins with 0, and is logarithmic from 1 on if it is long."""
    axes.set(xlabel="iteration", xlim=(0, last))
    style.round_ticks(axes.xaxis)
    if last > LINEAR:
        axes.set_xscale("symlog", linthresh=1, linscale=0.4)
        axes.set_xticks([0, *(10**power for power in range(10) if 10**power <= last)])
        axes.xaxis.set_major_formatter("{x:,g}")


def _losses(axes: Axes, losses: pd.DataFrame, comparison: pd.DataFrame) -> None:
    """The loss of each optimizer; a line ends, with a mark, where it falls below `FLOOR`."""
    iteration = losses["iteration"].to_numpy(dtype=float)
    ended = False
    for place, (name, lr) in enumerate(comparison[["optimizer", "lr"]].itertuples(index=False)):
        colour = style.CLASSES[place % len(style.CLASSES)]
        values, steps = losses[name].to_numpy(), iteration
        below = np.flatnonzero(values < FLOOR)
        if len(below) and not (end := below[0]):  # even the start is below
            steps, values = iteration[:1], np.array([FLOOR])
            axes.plot(0, FLOOR, "v", color=colour, ms=9, clip_on=False, zorder=5)
            ended = True
        elif len(below):
            share = (values[end - 1] - FLOOR) / (values[end - 1] - values[end])
            crossing = iteration[end - 1] + share * (iteration[end] - iteration[end - 1])
            steps, values = np.append(iteration[:end], crossing), np.append(values[:end], FLOOR)
            axes.plot(crossing, FLOOR, "v", color=colour, ms=9, clip_on=False, zorder=5)
            ended = True
        dashes = DASHES[place % len(DASHES)]
        axes.plot(steps, values, dashes, color=colour, lw=1.8, label=f"{name}, {lr:g}")
    axes.axhline(TARGET, color=style.REFERENCE, lw=1.2, label=f"target {10**TARGET:g}")
    if ended:
        axes.plot([], [], "v", color=style.QUIET, label=f"below {_power(FLOOR)}")
        axes.set_ylim(bottom=FLOOR)
    axes.set(ylabel="loss", title="Each optimizer at its best step size")
    _iterations(axes, int(iteration[-1]))
    axes.yaxis.set_major_formatter(lambda value, _: _power(value))
    axes.locator_params(axis="y", integer=True)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9, title="optimizer, step size")


def _power(exponent: float) -> str:
    return f"$10^{{{exponent:g}}}$"


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
