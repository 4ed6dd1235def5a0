"""Figures, as PNG."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from pipeline.files import write_bytes


def write_figure(path: Path | str, figure: Figure) -> None:
    """Writes a PNG of at most 256 colours (a third of the size), which names no version and no date."""
    drawn, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    image = Image.open(drawn).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(packed, "png", optimize=True)
    write_bytes(path, packed.getvalue())
