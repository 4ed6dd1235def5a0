"""Figures, as PNG."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from pipeline.files import write_bytes


def write_figure(path: Path | str, figure: Figure) -> None:
    """Writes a PNG of at most 256 colours (a third of the size), which names no version and no date."""
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()  # lays it out, as `savefig` does
    figure.set_layout_engine("none")
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    packed = io.BytesIO()
    image.quantize(256, dither=Image.Dither.NONE).save(packed, "png", optimize=True)
    write_bytes(path, packed.getvalue())
