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


def write_figures(folder: Path | str, figures: Mapping[str, Figure]) -> None:
    """Writes figures by name, as PNG files of a folder that holds nothing else afterwards.

    A file has at most 256 colours (a third of the size), and names no version and no date.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for name, figure in figures.items():
        canvas = FigureCanvasAgg(figure)
        figure.draw_without_rendering()  # lays it out, as `savefig` does
        figure.set_layout_engine("none")
        canvas.draw()
        image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        packed = io.BytesIO()
        image.quantize(256, dither=Image.Dither.NONE).save(packed, "png", optimize=True)
        write_bytes(Path(folder, f"{name}.png"), packed.getvalue())
