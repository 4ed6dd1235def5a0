"""What a VAE of images learned: its curves, its samples, and its plane of latents."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.patheffects as effects
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from plots import style


def reconstructions(
    images: np.ndarray, decoded: np.ndarray, names: Sequence[str], name: str, data: str
) -> Figure:
    """Binary images (N, pixels) above the decoder's mean at their posterior's mean, (N, pixels)."""
    fig = style.figure(1.25 * len(images) + 1.1, 3.7)
    axes = fig.subplots(2, len(images))
    for row, (what, pictures) in enumerate(
        (("data", style.square(images)), ("decoded", style.square(decoded)))
    ):
        for column, picture in enumerate(pictures):
            cell = axes[row, column]
            cell.imshow(picture, cmap=style.INK, vmin=0, vmax=1, interpolation="nearest")
            cell.set(xticks=[], yticks=[])
            cell.grid(False)
            for spine in cell.spines.values():
                spine.set(visible=True, color="#bbbbbb")
            if row == 0:
                cell.set_title(names[column])
        axes[row, 0].set_ylabel(what)
    fig.suptitle(f"Images and their reconstructions: {name}", fontsize=12)
    style.caption(fig, f"binarized test images of {data}")
    return fig


def elbo_curves(training: pd.DataFrame, notebook: pd.DataFrame | None, name: str, data: str) -> Figure:
    """Train and test ELBO by epoch, over the notebook's where it trained on the same data.

    Args:
        training, notebook: columns `epoch`, `train_elbo`, `test_elbo`.
    """
    fig = style.figure(7.5, 4.6)
    axes = fig.subplots()
    runs = [(training, name, style.FIRST, style.SECOND, 2.2)]
    if notebook is not None:
        runs.insert(0, (notebook, "reference notebook", style.REFERENCE, style.REFERENCE, 1.3))
    for table, label, train, test, width in runs:
        for split, colour, dashes in (("train", train, "--"), ("test", test, "-")):
            marker = "o" if len(table) == 1 else None
            axes.plot(
                table["epoch"], table[f"{split}_elbo"], dashes, color=colour, lw=width, marker=marker,
                label=f"{label}, {split}: {table[f'{split}_elbo'].iloc[-1]:.1f} at the end",
            )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel="ELBO (nats an image)", title=f"ELBO by epoch: {name}")
    # the first epochs would flatten the rest; what lies below the frame is in the csv
    later = np.concatenate([table[["train_elbo", "test_elbo"]].to_numpy()[1:].ravel() for table, *_ in runs])
    if len(later):
        low, high = later.min(), max(later.max(), later.min() + 1)
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    axes.legend(loc="lower right", fontsize=10)
    style.caption(fig, f"binarized {data}")
    return fig


def samples(decoded: np.ndarray, columns: int, name: str, data: str) -> Figure:
    """The decoder's means (N, pixels) at latents drawn from the prior."""
    fig = style.figure(7.0, 7.4)
    axes = fig.subplots()
    style.image_grid(axes, style.square(decoded), columns)
    axes.set_title(f"Decoded samples of the prior: {name}")
    style.caption(fig, f"trained on binarized {data}")
    return fig


def latent_means(means: np.ndarray, labels: np.ndarray, names: Sequence[str], name: str, data: str) -> Figure:
    """Posterior means (N, 2) coloured by class, each class's name where it lies densest."""
    fig = style.figure(7.6, 7.2)
    axes = fig.subplots()
    order = np.random.default_rng(0).permutation(len(means))  # no class hides another
    colours = np.array(style.CLASSES)[labels]
    axes.scatter(
        means[order, 0], means[order, 1], c=colours[order], s=7, alpha=0.6, linewidths=0, rasterized=True
    )
    apart = 0.045 * float(np.ptp(means, axis=0).max())  # the height of a name
    for label, (x, y) in style.spread(style.densest(means, labels), apart).items():
        axes.text(
            x, y, names[label], fontsize=15, fontweight="bold", color="black",
            ha="center", va="center", path_effects=[effects.withStroke(linewidth=4, foreground="white")],
        )  # fmt: skip
    axes.set(xlabel="$z_1$", ylabel="$z_2$", title=f"Posterior means by class: {name}")
    axes.set_aspect("equal")
    style.caption(fig, f"{len(means)} binarized test images of {data}")
    return fig


def latent_grid(decoded: np.ndarray, extent: float, name: str, data: str) -> Figure:
    """The decoder's means (n², pixels) over a square of latents from -extent to extent.

    The first row is that of the largest z_2, so that it lies on top.
    """
    columns = round(len(decoded) ** 0.5)
    pictures = style.square(decoded)
    side = pictures.shape[1]
    canvas = pictures.reshape(columns, columns, side, side).transpose(0, 2, 1, 3)
    fig = style.figure(7.4, 7.6)
    axes = fig.subplots()
    reach = extent * columns / (columns - 1)  # the latents are those of the cells' centres
    axes.imshow(
        canvas.reshape(columns * side, columns * side), cmap=style.INK, vmin=0, vmax=1,
        extent=(-reach, reach, -reach, reach),
    )  # fmt: skip
    axes.grid(False)
    axes.set(xlabel="$z_1$", ylabel="$z_2$", title=f"Decoded latents: {name}")
    style.caption(fig, f"trained on binarized {data}")
    return fig


def interpolations(decoded: np.ndarray, steps: int, name: str, data: str) -> Figure:
    """The decoder's means (rows · steps, pixels) on straight lines between latents of the prior."""
    rows = len(decoded) // steps
    fig = style.figure(8.0, 8.0 * rows / steps + 0.9)
    axes = fig.subplots()
    style.image_grid(axes, style.square(decoded), steps)
    axes.set_title(f"Straight lines between pairs of latents: {name}")
    style.caption(fig, f"trained on binarized {data}")
    return fig
