"""What a VAE of images learned: its curves, its samples, and its plane of latents."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from plots import style


def reconstructions(
    images: np.ndarray, decoded: np.ndarray, names: Sequence[str], name: str, data: str
) -> Figure:
    """Binary images (N, pixels) above the decoder's means (N, pixels) at the means of their posteriors."""
    fig, axes = style.subplots(1.25 * len(images) + 1.1, 3.7, 2, len(images))
    for row, label, pictures in zip(axes, ("data", "decoded"), (images, decoded), strict=True):
        row[0].set_ylabel(label)
        for cell, picture in zip(row, style.square(pictures), strict=True):
            style.picture(cell, picture)
            cell.spines[:].set(visible=True, color="#bbbbbb")
    for cell, title in zip(axes[0], names, strict=True):
        cell.set_title(title)
    return style.finish(fig, f"binarized test images of {data}", f"Images and their reconstructions: {name}")


def elbo_curves(training: pd.DataFrame, notebook: pd.DataFrame | None, name: str, data: str) -> Figure:
    """Train and test ELBO (nats per image) by epoch, over the notebook's where it trained on the same data.

    Args:
        training, notebook: columns `epoch`, `train_elbo`, `test_elbo`.
    """
    fig, axes = style.subplots(7.5, 4.6)
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
    return style.finish(fig, f"binarized {data}")


def samples(decoded: np.ndarray, columns: int, name: str, data: str) -> Figure:
    """The decoder's means (N, pixels) at latents drawn from the prior."""
    return _images(decoded, columns, (7.0, 7.4), f"Decoded samples of the prior: {name}", data)


def latent_means(means: np.ndarray, labels: np.ndarray, names: Sequence[str], name: str, data: str) -> Figure:
    """Posterior means (N, 2) coloured by class, each class's name where it is densest."""
    fig, axes = style.subplots(7.6, 7.2)
    style.scatter(axes, means, np.array(style.CLASSES)[labels], s=7, alpha=0.6, rasterized=True)
    apart = 0.045 * float(np.ptp(means, axis=0).max())  # the height of a name
    for label, (x, y) in style.spread(style.densest(means, labels), apart).items():
        style.outlined_text(axes, x, y, names[label], size=15, outline=4)
    style.latent_plane(axes, f"Posterior means by class: {name}")
    return style.finish(fig, f"{len(means)} binarized test images of {data}")


def latent_grid(decoded: np.ndarray, extent: float, name: str, data: str) -> Figure:
    """The decoder's means (n², pixels) over a square of latents from -extent to extent.

    The first row is that of the largest z_2, so that it lies on top.
    """
    columns = round(len(decoded) ** 0.5)
    fig, axes = style.subplots(7.4, 7.6)
    reach = extent * columns / (columns - 1)  # the latents are those of the cells' centres
    canvas = style.tile(style.square(decoded), columns)
    axes.imshow(canvas, cmap=style.INK, vmin=0, vmax=1, extent=(-reach, reach, -reach, reach))
    axes.grid(False)
    style.latent_plane(axes, f"Decoded latents: {name}")
    return style.finish(fig, f"trained on binarized {data}")


def interpolations(decoded: np.ndarray, steps: int, name: str, data: str) -> Figure:
    """The decoder's means (rows · steps, pixels) on straight lines between latents of the prior."""
    size = (8.0, 8.0 * (len(decoded) // steps) / steps + 0.9)
    return _images(decoded, steps, size, f"Straight lines between pairs of latents: {name}", data)


def _images(decoded: np.ndarray, columns: int, size: tuple[float, float], title: str, data: str) -> Figure:
    fig, axes = style.subplots(*size)
    style.picture(axes, style.tile(style.square(decoded).astype(float), columns, gap=2))
    axes.set_title(title)
    axes.set_axis_off()
    return style.finish(fig, f"trained on binarized {data}")
