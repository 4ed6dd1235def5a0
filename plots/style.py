"""One style for all figures: fonts, colours, captions, and the parts that several figures share."""

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import matplotlib.patheffects as effects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

DPI = 120
MOST = 2000  # points of a class among which the densest place is looked for
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
        "figure.dpi": DPI,
        "figure.titlesize": 13,
        "savefig.dpi": DPI,
        "lines.linewidth": 2.0,
    }
)


class Look(NamedTuple):
    """How a model's lines and points are drawn."""

    colour: str
    dashes: Any
    marker: str


# Paul Tol's "muted" scheme (https://sronpersonalpages.nl/~pault/), safe for colour-blind readers, and a
# dark grey; figures that use it also write each class's name beside its points or lines.
# In an order in which digits that look alike (3, 5, 8 and 4, 7, 9) differ in grey as well.
CLASSES = (
    "#332288", "#999933", "#117733", "#DDCC77", "#CC6677",
    "#44AA99", "#AA4499", "#88CCEE", "#882255", "#555555",
)  # fmt: skip
# Of one model after the other: of that scheme too, darkest first, so that they differ in grey as well.
LOOKS = (
    Look("#332288", "-", "o"),
    Look("#CC6677", (0, (5, 1.5)), "s"),
    Look("#44AA99", (0, (1, 1)), "^"),
    Look("#D1B13A", (0, (6, 1.5, 1, 1.5)), "D"),
)
FIRST, SECOND, REFERENCE = "#332288", "#CC6677", "#777777"
QUIET = "#555555"  # of text beside the data
INK = "Greys"  # of images: ink on paper
RAMP = "cividis"
MANY_CLASSES = 15  # from which on they get smaller letters, and a row for each panel
PANEL = (4.6, 3.6)  # inches of one panel of two in a row


def subplots(
    width: float, height: float, rows: int = 1, columns: int = 1, layout: Any = "constrained", **options: Any
) -> tuple[Figure, Any]:
    """A figure (width and height in inches) and its axes, as matplotlib's `subplots` gives them.

    It is laid out so that nothing overlaps or is cut off; `compressed` is for axes of fixed aspect.
    """
    fig = Figure(figsize=(width, height), layout=layout)
    return fig, fig.subplots(rows, columns, **options)


def panels(
    count: int, width: float, height: float, classes: int = 0, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels of that size in inches, two in a row; wide ones, below each other, where an
    axis has many `classes`.
    """
    columns = min(count, 2)
    if classes > MANY_CLASSES:
        columns, width = 1, max(width, 0.17 * classes + 1)
    rows = -(-count // columns)
    fig, cells = subplots(width * columns, height * rows, rows, columns, squeeze=False, **options)
    for cell in cells.flat[count:]:
        cell.set_axis_off()
    return fig, list(cells.flat[:count])


def looks(names: Sequence[str]) -> dict[str, Look]:
    """The look of each model."""
    return dict(zip(names, itertools.cycle(LOOKS), strict=False))


def finish(fig: Figure, caption: str) -> Figure:
    """Adds a line below everything that says which data it shows."""
    lines = textwrap.fill(plain(caption), int(14 * fig.get_figwidth()))
    fig.supxlabel(lines, fontsize=9, color=QUIET, x=0.99, ha="right")
    return fig


def legend_above(fig: Figure, handles: Sequence[Any]) -> None:
    """One legend for all axes, above them, in as many lines as their width makes necessary."""
    letters = sum(len(str(handle.get_label())) + 6 for handle in handles)
    lines = int(letters / (11.5 * fig.get_figwidth())) + 1
    columns = -(-len(handles) // lines)
    fig.legend(handles=handles, loc="outside upper center", ncols=columns, fontsize=10.5)


def keys(found: Mapping[str, Look], *, lines: bool = True) -> list[Line2D]:
    """The legend's entries of models: their lines or their markers."""
    return [
        Line2D([], [], color=look.colour, ls=look.dashes, label=name)
        if lines
        else Line2D([], [], color=look.colour, ls="", marker=look.marker, ms=7, label=name)
        for name, look in found.items()
    ]


def number(value: float, decimals: int = 2, *, sign: bool = False) -> str:
    """A number with a minus sign and commas between thousands; no minus zero."""
    return f"{round(value, decimals) + 0.0:{'+' if sign else ''},.{decimals}f}".replace("-", "−")


def plus_minus(value: float, error: float | None, *, sign: bool = False) -> str:
    """A number ± its standard error; alone, if that is None or NaN."""
    known = error is not None and not math.isnan(error)
    return number(value, sign=sign) + (f" ± {number(error)}" if known else "")  # type: ignore[arg-type]


def percent(share: float, decimals: int = 0) -> str:
    """A share as a percentage."""
    return f"{share * 100:.{decimals}f} %"


def percent_ticks(*axes: Axis) -> None:
    """Ticks of shares."""
    for axis in axes:
        axis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")


def round_ticks(axis: Axis, largest: float | None = None, *, whole: bool = True) -> None:
    """Ticks at round numbers, as 5, 10, 15, 20; none above the largest, where the axis is longer."""
    locator = MaxNLocator(nbins=6, integer=whole, steps=[1, 2, 5, 10])
    if largest is None:
        axis.set_major_locator(locator)
    else:
        axis.set_ticks([tick for tick in locator.tick_values(0, largest) if tick <= largest])


def texts_beside(
    axes: Axes, x: float, values: Sequence[float], texts: Sequence[str], shift: float = 0, size: float = 10
) -> None:
    """The text of each value (N,) to the right of x, `shift` points higher, none over another."""
    low, high = axes.get_ylim()
    apart = 1.4 * size / 72 * (high - low) / (0.72 * axes.figure.bbox.height / DPI)
    order = np.argsort(values, kind="stable")
    places = np.asarray(values, dtype=float)[order]
    for _ in range(100):
        for place, overlap in enumerate(apart - np.diff(places)):
            if overlap > 0:
                places[place : place + 2] += np.array([-0.5, 0.5]) * (apart - np.diff(places)[place])
    for place, y in zip(order, places, strict=True):
        axes.annotate(
            texts[place], (x, y), (8, shift), textcoords="offset points", va="center",
            fontsize=size, bbox={"fc": "white", "ec": "none", "pad": 0.6}, annotation_clip=False,
        )  # fmt: skip


def plain(text: str) -> str:
    """A text that matplotlib draws as it is: a $ in the name of a class or of data begins no formula."""
    return text.replace("$", r"\$")


def short(name: str, letters: int = 12) -> str:
    """A name short enough for a tick."""
    return plain(name if len(name) <= letters else f"{name[: letters - 1]}…")


def class_ticks(axes: Axes, names: Sequence[str], rotation: int = 45, *, both: bool = False) -> None:
    """A tick at 0, 1, … for each class, on the x axis or both; `rotation` (degrees) is that of long names."""
    ticks, labels = range(len(names)), [short(name) for name in names]
    many = len(names) > MANY_CLASSES
    long = many or max(map(len, names)) > 2
    turned: dict[str, Any] = {"rotation": 90, "va": "center"} if many else {"rotation": rotation * long}
    size: dict[str, Any] = {"fontsize": 8} if many else {}
    ha = "right" if long else "center"
    axes.set_xticks(ticks, labels, ha=ha, rotation_mode="anchor", **turned, **size)
    if both:
        axes.set_yticks(ticks, labels, **size)


def latent_plane(axes: Axes, title: str, reach: float) -> None:
    """Labels and scale of a plane of latents, from -reach to reach."""
    limits = (-reach, reach)
    axes.set(xlabel="$z_1$", ylabel="$z_2$", title=title, aspect="equal", xlim=limits, ylim=limits)
    axes.grid(False)


def outlined_text(axes: Axes, x: float, y: float, text: str, size: float, **options: Any) -> None:
    """Bold text with a white outline, readable on any ground."""
    outline = [effects.withStroke(linewidth=3.5, foreground="white")]
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontweight": "bold", "zorder": 6} | options
    axes.text(x, y, text, fontsize=size, path_effects=outline, **style)


def densest(points: np.ndarray, labels: np.ndarray) -> dict[int, np.ndarray]:
    """By class, where its points (of all, (N, 2)) are densest: (2,).

    Not their mean or median, where a class of two clusters may have no points at all.
    """
    radius = float(points.std()) / 3
    places = {}
    for label in np.unique(labels):
        own = points[labels == label].astype(float)
        own = own[:: -(-len(own) // MOST)]  # all pairs of more would take gigabytes
        near = np.exp(-np.square((own[:, None] - own[None]) / radius).sum(-1) / 2)
        places[int(label)] = own[near.sum(axis=1).argmax()]
    return places


def spread(
    places: Mapping[Any, np.ndarray], sizes: Mapping[Any, tuple[float, float]], reach: float = np.inf
) -> dict[Any, np.ndarray]:
    """Centres (2,) of texts, moved until no two overlap and none is beyond `reach`, so that all can be read.

    Args:
        sizes: width and height of each text, in the units of `places`.
    """
    half = {key: (float(width) / 2, float(height) / 2) for key, (width, height) in sizes.items()}
    limit = {key: [max(reach - side, 0.0) for side in half[key]] for key in places}
    # plain floats, as arrays of two take ten times as long, and of many classes there are thousands of pairs
    moved = {
        key: [min(max(float(x), -end), end) for x, end in zip(place, limit[key], strict=True)]
        for key, place in places.items()
    }
    for _ in range(1000 if len(moved) < 30 else 200):
        settled = True
        for first, second in itertools.combinations(moved, 2):
            one, other = moved[first], moved[second]
            x, y = (half[first][axis] + half[second][axis] - abs(other[axis] - one[axis]) for axis in (0, 1))
            if x > 1e-6 and y > 1e-6:
                axis, overlap = (0, x) if x <= y else (1, y)
                step = (overlap / 2 + 1e-9) * (1 if other[axis] - one[axis] >= 0 else -1)
                for key, place, change in ((first, one, -step), (second, other, step)):
                    end = limit[key][axis]
                    place[axis] = min(max(place[axis] + change, -end), end)
                settled = False
        if settled:
            break
    return {key: np.array(place) for key, place in moved.items()}


def text_size(text: str, points: float, scale: float) -> tuple[float, float]:
    """About the width and height of a text of that font size, where a unit of data is `scale` inches long."""
    return (0.68 * max(len(text), 1) + 0.3) * points / 72 / scale, 1.25 * points / 72 / scale
