"""One style for all figures: fonts, colours, captions, and the parts that several figures share."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import matplotlib.patheffects as effects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

matplotlib.rcdefaults()  # ignore the matplotlibrc of this machine
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
        "figure.titlesize": 12,
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


def subplots(
    width: float, height: float, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, Any]:
    """A figure (width and height in inches) and its axes, as matplotlib's `subplots` gives them.

    It is laid out so that nothing overlaps or is cut off.
    """
    fig = Figure(figsize=(width, height), layout="constrained")
    return fig, fig.subplots(rows, columns, **options)


def finish(fig: Figure, caption: str, title: str | None = None) -> Figure:
    """Adds a title of the whole figure, and a line below everything that says which data it shows."""
    if title:
        fig.suptitle(title)
    fig.supxlabel(caption, fontsize=8, color="#555555", x=0.99, ha="right")
    return fig


def legend_above(fig: Figure, handles: Sequence[Any], title: str) -> None:
    """One legend for all axes, below the figure's title."""
    options: dict[str, Any] = {"ncols": 3, "fontsize": 9.5, "title": title, "title_fontsize": 12}
    fig.legend(handles=handles, loc="outside upper center", **options)


def picture(axes: Axes, image: np.ndarray) -> None:
    """An image (H, W) in [0, 1], ink on paper, without ticks."""
    axes.imshow(image, cmap=INK, vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.grid(False)


def tile(images: np.ndarray, columns: int, gap: int = 0) -> np.ndarray:
    """One image of the images (N, H, W), row by row, `gap` light grey pixels apart."""
    count, height, width = images.shape
    rows = -(-count // columns)
    padding = ((0, rows * columns - count), (0, gap), (0, gap))
    cells = np.pad(images, padding, constant_values=0.12).reshape(rows, columns, height + gap, width + gap)
    return cells.transpose(0, 2, 1, 3).reshape(rows * (height + gap), -1)[: -gap or None, : -gap or None]


def square(images: np.ndarray) -> np.ndarray:
    """Flat images (N, side²) as (N, side, side)."""
    side = round(images.shape[1] ** 0.5)
    return images.reshape(len(images), side, side)


def short(name: str) -> str:
    """A class name short enough for a tick."""
    return name if len(name) <= 10 else f"{name[:9]}…"


def class_ticks(axes: Axes, names: Sequence[str], rotation: int = 60, *, both: bool = False) -> None:
    """A tick at 0, 1, … for each class, on the x axis or both; `rotation` (degrees) is that of long names."""
    ticks, labels = range(len(names)), [short(name) for name in names]
    long = max(map(len, names)) > 2
    axes.set_xticks(ticks, labels, rotation=rotation if long else 0, ha="right" if long else "center")
    if both:
        axes.set_yticks(ticks, labels)


def latent_plane(axes: Axes, title: str, reach: float | None = None) -> None:
    """Labels and scale of a plane of latents, from -reach to reach where that is given."""
    limits = {} if reach is None else {"xlim": (-reach, reach), "ylim": (-reach, reach)}
    axes.set(xlabel="$z_1$", ylabel="$z_2$", title=title, aspect="equal", **limits)


def scatter(axes: Axes, points: np.ndarray, values: np.ndarray, **options: Any) -> PathCollection:
    """Points (N, 2) coloured by `values` (N,), drawn in random order so that no class hides another."""
    order = np.random.default_rng(0).permutation(len(points))
    x, y = points[order].T
    return axes.scatter(x, y, c=values[order], linewidths=0, **options)


def outlined_text(axes: Axes, x: float, y: float, text: str, size: float, outline: float) -> None:
    """Bold text with a white outline of so many points, readable on any ground."""
    axes.text(
        x, y, text, fontsize=size, fontweight="bold", color="black", ha="center", va="center",
        path_effects=[effects.withStroke(linewidth=outline, foreground="white")],
    )  # fmt: skip


def densest(points: np.ndarray, labels: np.ndarray) -> dict[int, np.ndarray]:
    """By class, where its points (of all, (N, 2)) are densest: (2,).

    Not their mean or median, where a class of two clusters may have no points at all.
    """
    radius = float(points.std()) / 4
    places = {}
    for label in np.unique(labels):
        own = points[labels == label].astype(float)
        near = np.linalg.norm(own[:, None] - own[None], axis=-1) < radius
        places[int(label)] = own[near.sum(axis=1).argmax()]
    return places


def spread(places: Mapping[Any, np.ndarray], apart: float) -> dict[Any, np.ndarray]:
    """Places (2,) of texts in a figure, moved until any two are `apart`, so that all can be read."""
    moved = {key: np.asarray(place, dtype=float) for key, place in places.items()}
    for _ in range(1000):
        settled = True
        for first, second in itertools.combinations(moved, 2):
            offset = moved[second] - moved[first]
            distance = float(np.linalg.norm(offset))
            if distance < apart * 0.999:
                direction = offset / distance if distance else np.array([1.0, 0.0])
                step = direction * (apart - distance) / 2
                moved[first], moved[second] = moved[first] - step, moved[second] + step
                settled = False
        if settled:
            break
    return moved
