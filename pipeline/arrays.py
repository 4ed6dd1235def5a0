"""Arrays, as npz: without pickle, and without trust in what a file says of its own size."""

from __future__ import annotations

import io
import math
import struct
import tokenize
import zipfile
from pathlib import Path

import numpy as np

from pipeline.console import damaged
from pipeline.files import write_bytes

# what zipfile and numpy come up with, given any bytes
UNREADABLE = (
    ValueError, TypeError, OSError, EOFError, RuntimeError, OverflowError, MemoryError,
    struct.error, tokenize.TokenError, zipfile.BadZipFile,
)  # fmt: skip


def write_npz(path: Path | str, **arrays: np.ndarray) -> None:
    """Writes arrays uncompressed, in the order of their names, each zip entry with the same fixed date.

    Not by `numpy.savez`, which streams its entries: their headers then depend on Python's version (3.11.4
    changed them), where those of entries written at once do not.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in sorted(arrays):
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.asanyarray(arrays[name]), allow_pickle=False)
            file.writestr(zipfile.ZipInfo(f"{name}.npy"), entry.getvalue())
    write_bytes(path, buffer.getvalue())


def read_npz(path: Path | str) -> dict[str, np.ndarray]:
    """Reads what `write_npz` wrote, without pickle; takes no more memory than the file is long.

    Raises:
        UserError: the file is damaged, or was written by another; it says how to have it made again.
        OSError: it cannot be read.
    """
    content = Path(path).read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            entries = [entry for entry in file.infolist() if _plain(entry, len(content))]
            return {entry.filename.removesuffix(".npy"): _array(file.read(entry)) for entry in entries}
    except UNREADABLE as error:
        raise damaged(path, error) from None


def _plain(entry: zipfile.ZipInfo, size: int) -> bool:
    """Whether an entry is stored as it is; a compressed one may be any size when it is taken out."""
    if entry.compress_type != zipfile.ZIP_STORED or not 0 <= entry.file_size <= size:
        raise ValueError(f"{entry.filename} is compressed, or longer than the file")
    return True


def _array(content: bytes) -> np.ndarray:
    """An array in numpy's format; its header has to agree with what is there before memory is taken."""
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("another version of numpy's format")
    shape, in_columns, dtype = np.lib.format.read_array_header_1_0(file)
    start = file.tell()
    if dtype.hasobject or min(shape, default=0) < 0:
        raise ValueError(f"an array of shape {shape} and type {dtype} is none of ours")
    if math.prod(shape) * dtype.itemsize != len(content) - start:
        raise ValueError(f"the header says shape {shape}, which is not what follows")
    flat = np.frombuffer(content, dtype, offset=start) if len(content) > start else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if in_columns else "C").copy()
