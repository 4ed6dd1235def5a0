"""One style for all figures: what they share of fonts, colours and captions."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Key = TypeVar("Key", bound=Hashable)

matplotlib.rcdefaults()  # whatever matplotlibrc this machine has
matplotlib.rcParams.update(
    {
        "font.family": "DejaVu Sans",  # comes with matplotlib: the same glyphs on every machine
        "font.size": 11,
        "axes.titlesize": 12,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#dddddd",
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "figure.dpi": 120,
        "savefig.dpi": 120,
        "lines.linewidth": 2.0,
    }
)

# Paul Tol's "muted" scheme (https://sronpersonalpages.nl/~pault/), safe for colour-blind readers, and a
# dark grey; figures that use it also write each class's name beside its points or lines.
CLASSES = (
    "#332288", "#88CCEE", "#117733", "#DDCC77", "#CC6677",
    "#AA4499", "#44AA99", "#999933", "#882255", "#555555",
)  # fmt: skip
FIRST, SECOND, REFERENCE = "#332288", "#CC6677", "#777777"
NEGATIVE, POSITIVE = "#332288", "#EE9944"  # far apart in lightness as well
INK = "Greys"  # of images: ink on paper
RAMP = "cividis"


def figure(width: float, height: float) -> Figure:
    """A figure of so many inches, laid out so that nothing overlaps or is cut off."""
    return Figure(figsize=(width, height), layout="constrained")


def caption(fig: Figure, text: str) -> None:
    """A line below everything that says which data the figure shows."""
    fig.supxlabel(text, fontsize=8, color="#555555", x=0.99, ha="right")


def image_grid(axes: Axes, images: np.ndarray, columns: int, gap: int = 2) -> None:
    """Draws images (N, H, W) in [0, 1] row by row, ink on paper, `gap` pixels apart."""
    count, height, width = images.shape
    rows = -(-count // columns)
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), 0.12)
    for index, image in enumerate(images):
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        canvas[top : top + height, left : left + width] = image
    axes.imshow(canvas, cmap=INK, vmin=0, vmax=1, interpolation="nearest")
    axes.set_axis_off()


def square(images: np.ndarray) -> np.ndarray:
    """Flat images (N, side²) as (N, side, side)."""
    side = round(images.shape[1] ** 0.5)
    return images.reshape(len(images), side, side)


def short(names: Sequence[str]) -> list[str]:
    """Class names short enough for a tick."""
    return [name if len(name) <= 10 else f"{name[:9]}…" for name in names]


def densest(points: np.ndarray, labels: np.ndarray) -> dict[int, np.ndarray]:
    """Where the points (N, 2) of each class lie densest.

    Not their mean or median, where a class of two clusters may have no points at all.
    """
    radius = float(points.std()) / 4
    places = {}
    for label in np.unique(labels):
        own = points[labels == label].astype(float)
        near = np.linalg.norm(own[:, None] - own[None], axis=-1) < radius
        places[int(label)] = own[near.sum(axis=1).argmax()]
    return places


def spread(places: Mapping[Key, np.ndarray], apart: float) -> dict[Key, tuple[float, float]]:
    """Places (2,) for what is written into a picture, moved until they are `apart`: all can be read."""
    moved = {key: np.asarray(place, dtype=float) for key, place in places.items()}
    for _ in range(1000):
        still = True
        for first, second in itertools.combinations(moved, 2):
            way = moved[second] - moved[first]
            distance = float(np.linalg.norm(way))
            if distance < apart * 0.999:
                way = way / distance if distance else np.array([1.0, 0.0])
                moved[first] = moved[first] - way * (apart - distance) / 2
                moved[second] = moved[second] + way * (apart - distance) / 2
                still = False
        if still:
            break
    return {key: (float(place[0]), float(place[1])) for key, place in moved.items()}
