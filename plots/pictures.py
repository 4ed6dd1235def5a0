"""Pictures of any height and width: enlarged by a whole factor, and set in rows with room for their texts."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath

from plots import style

LONGEST = 2.5  # times the wanted size: the longer side of a narrow picture


def enlarged_size(shape: Sequence[int], pixels: int) -> tuple[int, int]:
    """Height and width of a picture enlarged by a whole factor to about the area of a square of `pixels`."""
    height, width = shape
    factor = min(pixels / math.sqrt(height * width), LONGEST * pixels / max(shape))
    times = max(1, round(factor))
    return height * times, width * times


def enlarged(images: np.ndarray, shape: Sequence[int], pixels: int) -> np.ndarray:
    """Flat images (N, height · width) as (N, h, w) of `enlarged_size`, in 6 shades, for small files."""
    height, width = shape
    times = enlarged_size(shape, pixels)[0] // height
    pictures = (np.round(images * 5) / 5).reshape(len(images), height, width)
    return pictures.repeat(times, axis=1).repeat(times, axis=2)


def tiles(
    images: np.ndarray,
    shape: Sequence[int],
    columns: int,
    pixels: int,
    margins: tuple[int, int],
    room: tuple[int, int],
    caption: str,
    title: str = "",
) -> tuple[Figure, Axes, list[tuple[int, int]], tuple[int, int]]:
    """A figure of flat images (N, height · width), `columns` in a row, each framed; a line above and below.

    Args:
        shape: height and width of an image.
        margins, room: pixels left of all and above all; right of each image and below it.
    Returns:
        The figure, axes in its pixels, the left upper corner (x, y) of each image, their height and width.
    """
    caption, title = style.plain(caption), style.plain(title)
    pictures = enlarged(images, shape, pixels)
    high, wide = pictures.shape[1:]
    inside = max(pixels - wide, 0) // 2  # left and right of a narrow picture, whose texts are wider
    across, down = 2 * inside + wide + room[0], high + room[1]
    ends = [
        TextPath((0, 0), text, size).get_extents().x1 for text, size in ((caption, 9), (title, 13)) if text
    ]
    width = max(margins[0] + columns * across, round(max(ends) * style.DPI / 72) + 26)
    height = margins[1] + -(-len(images) // columns) * down + 26
    places = [
        (margins[0] + inside + n % columns * across, margins[1] + n // columns * down)
        for n in range(len(images))
    ]
    ink = np.zeros((height, width))
    for (x, y), picture in zip(places, pictures, strict=True):
        ink[y - 1 : y + high + 1, x - 1 : x + wide + 1] = 0.25
        ink[y : y + high, x : x + wide] = picture
    fig = Figure(figsize=(width / style.DPI, height / style.DPI))
    axes = fig.add_axes((0, 0, 1, 1))
    axes.imshow(ink, cmap=style.INK, vmin=0, vmax=1, interpolation="nearest", extent=(0, width, height, 0))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    axes.text(width - 10, height - 6, caption, ha="right", va="bottom", fontsize=9, color=style.QUIET)
    axes.text(12, 12, title, fontsize=13, va="top")
    return fig, axes, places, (high, wide)
