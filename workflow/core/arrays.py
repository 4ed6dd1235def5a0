"""Arrays as npz: without pickle, and without trust in the size that a file claims."""

import io
import math
import struct
import tokenize
import zipfile
from pathlib import Path

import numpy as np

from workflow.core.errors import damaged
from workflow.core.files import write_bytes

# what zipfile and numpy raise, given any bytes
UNREADABLE = (
    ValueError, TypeError, OSError, EOFError, RuntimeError, OverflowError, MemoryError,
    struct.error, tokenize.TokenError, zipfile.BadZipFile,
)  # fmt: skip


def write_npz(path: Path | str, **arrays: np.ndarray) -> None:
    """Writes arrays uncompressed, in the order of their names, each zip entry with the same fixed date.

    `numpy.savez` streams its entries, whose headers then depend on Python's version (3.11.4 changed them).
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in sorted(arrays):
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.asanyarray(arrays[name]), allow_pickle=False)
            file.writestr(zipfile.ZipInfo(f"{name}.npy"), entry.getvalue())
    write_bytes(path, buffer.getvalue())


def read_npz(path: Path | str) -> dict[str, np.ndarray]:
    """Reads a file of `write_npz`, without pickle, in no more memory than a few times its length.

    Raises:
        UserError: the file is damaged, or another program wrote it.
    """
    content = Path(path).read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            for entry in file.infolist():
                # a compressed entry may have any size when it is unpacked
                if entry.compress_type != zipfile.ZIP_STORED or not 0 <= entry.file_size <= len(content):
                    raise ValueError(f"{entry.filename} is compressed, or longer than the file")
            return {
                entry.filename.removesuffix(".npy"): _array(file.read(entry)) for entry in file.infolist()
            }
    except UNREADABLE as error:
        raise damaged(path, error) from None


def _array(content: bytes) -> np.ndarray:
    """An array in numpy's format; its header has to fit the length before memory is allocated."""
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("another version of numpy's format")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    follow = len(content) - file.tell()
    if not dtype.itemsize or math.prod(shape) * dtype.itemsize != follow:
        raise ValueError(f"an array of shape {shape} and type {dtype} does not have {follow} bytes")
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
