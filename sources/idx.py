"""IDX, MNIST's format of files: bytes in up to three dimensions, gzipped or not."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from workflow.core.errors import UserError
from workflow.core.files import write_bytes

LARGEST = 1 << 28  # bytes of a split; MNIST's training images are 47 million
PREFIXES = {"train": "train", "test": "t10k"}  # of MNIST's files, by split
RAW_REMEDY = "delete data/raw, then run `dvc repro`"


def names(split: str) -> tuple[str, str]:
    """The names of MNIST's files of a split, without .gz: images and labels."""
    return f"{PREFIXES[split]}-images-idx3-ubyte", f"{PREFIXES[split]}-labels-idx1-ubyte"


def find(folder: Path, name: str) -> Path:
    """The file, gzipped or not; where neither exists the gzipped one, which the reader reports as missing."""
    zipped, plain = folder / f"{name}.gz", folder / name
    return plain if plain.exists() and not zipped.exists() else zipped


def read_split(images: Path, labels: Path | None, classes: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The images (N, H, W) and labels (N,) of a split of data/raw, uint8; no labels where no file is given.

    Raises:
        UserError: a file is damaged, the two do not fit together, or a label is not below `classes`.
        OSError: a file cannot be read.
    """
    pixels = read(images, 3, RAW_REMEDY)
    if labels is None:
        return pixels, None
    codes = read(labels, 1, RAW_REMEDY)
    if len(pixels) != len(codes):
        raise UserError(f"{images}, {labels}: image and label counts differ; {RAW_REMEDY}")
    if codes.max() >= classes:
        raise UserError(f"{labels}: a label is above {classes - 1}; {RAW_REMEDY}")
    return pixels, codes


def read(path: Path, dimensions: int, remedy: str) -> np.ndarray:
    """The bytes of an IDX file: two zero bytes, 8 for unsigned bytes, the number of dimensions, sizes, data.

    Unlike torchvision it does not trust the sizes: it takes no more memory than there are data.

    Raises:
        UserError: the file is damaged; the message ends with `remedy`.
        OSError: the file cannot be read.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            if file.read(4) != bytes([0, 0, 8, dimensions]):
                raise ValueError(f"no IDX file of bytes in {dimensions} dimensions")
            sizes = struct.unpack(f">{dimensions}i", file.read(4 * dimensions))
            if min(sizes) < 1 or math.prod(sizes) > LARGEST:
                raise ValueError(f"its sizes are {sizes}")
            content = bytearray(file.read(math.prod(sizes) + 1))
            if len(content) != math.prod(sizes):
                raise ValueError(f"its data are not the {math.prod(sizes)} bytes that its sizes {sizes} give")
            return np.frombuffer(content, dtype=np.uint8).reshape(sizes)
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile, struct.error) as error:
        raise UserError(f"{path} is damaged ({error}); {remedy}") from None


def write(path: Path, values: np.ndarray) -> None:
    """Writes whole numbers from 0 to 255, without gzip."""
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
    write_bytes(path, header + values.astype(np.uint8).tobytes())
