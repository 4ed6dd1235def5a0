"""Figures, as PNG."""

import io
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from workflow.core.files import write_bytes

COMMON = 16  # colours of a file that stay as they are
COLOURS = 36  # in all: it has two thirds of the bytes of one with 256
STEP = 32  # the other colours become one in each cube of so many values a side


def write_figures(folder: Path | str, figures: Mapping[str, Figure]) -> None:
    """Writes figures by name, as PNG files of a folder that holds nothing else afterwards.

    A file has few colours, as the report contains all of them, and names no version and no date.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if not figures:
        write_bytes(Path(folder, ".gitkeep"), b"")  # git keeps no empty folder
    for name, figure in figures.items():
        canvas = FigureCanvasAgg(figure)
        figure.draw_without_rendering()  # lays it out, as `savefig` does
        figure.set_layout_engine("none")
        canvas.draw()
        packed = io.BytesIO()
        with_palette(np.asarray(canvas.buffer_rgba())[..., :3]).save(packed, "png", optimize=True)
        write_bytes(Path(folder, f"{name}.png"), packed.getvalue())


def with_palette(pixels: np.ndarray) -> Image.Image:
    """An image (H, W, 3) with few colours: the commonest are exact, unlike those of median cut."""
    packed = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)
    found, inverse, counts = np.unique(packed, return_inverse=True, return_counts=True)
    colours = (found[:, None] >> np.array([16, 8, 0])) & 255
    falling = np.argsort(-counts, kind="stable")
    cubes: dict[tuple[int, ...], list[int]] = {}
    for index in falling[COMMON:].tolist():
        cubes.setdefault(tuple(colours[index] // STEP), []).append(index)
    largest = sorted(cubes.values(), key=lambda cube: -int(counts[cube].sum()))[: COLOURS - COMMON]
    kept = colours[[*falling[:COMMON], *(cube[0] for cube in largest)]]
    nearest = np.square(colours[:, None] - kept[None]).sum(2).argmin(1).astype(np.uint8)
    image = Image.fromarray(nearest[inverse].reshape(packed.shape), "P")
    image.putpalette(kept.astype(np.uint8).tobytes())
    return image
