"""MNIST and its look-alikes by torchvision's tables, and torchvision itself beside a CPU-only torch."""

from __future__ import annotations

import gzip
import math
import struct
import sys
import zlib
from pathlib import Path
from types import ModuleType

import numpy as np

from pipeline.console import UserError

LARGEST = 1 << 28  # bytes of a split; MNIST's training images are 47 million
CLASSES = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}
_AGAIN = "delete data/raw, and `dvc repro` brings it again"


def torchvision_mnist() -> ModuleType:
    """torchvision.datasets.mnist.

    The torchvision of the package index registers C++ operators that a CPU-only torch does not load, and
    fails at import (pytorch/vision #9085). Its datasets use none of them, so where the plain import fails
    in just this way the two missing operators are declared, and the import tried again.

    Raises:
        RuntimeError: torchvision fails to import for another reason.
    """
    import torch

    try:
        from torchvision.datasets import mnist
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        # kept alive as long as the process: the declarations go with the object
        library = torch.library.Library("torchvision", "FRAGMENT")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        from torchvision.datasets import mnist

        mnist._declared_operators = library
    return mnist


def files(dataset: str) -> dict[str, str]:
    """The names and md5 sums of a dataset's four gzipped IDX files."""
    table = getattr(torchvision_mnist(), CLASSES[dataset]).resources
    return dict(table)


def mirrors(dataset: str) -> list[str]:
    """The addresses of folders that hold these files, the best first."""
    return [url.rstrip("/") for url in getattr(torchvision_mnist(), CLASSES[dataset]).mirrors]


def read_idx(images: Path, labels: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads one split.

    Args:
        images: an IDX file of (N, H, W) bytes, gzipped if its name ends so.
        labels: an IDX file of N bytes below 10, the same.

    Returns:
        images (N, H, W) uint8 and labels (N,) uint8.

    Raises:
        UserError: a file is damaged, or the two do not belong together.
        OSError: one cannot be read.
    """
    pictures, kinds = _idx(images, 3), _idx(labels, 1)
    if len(pictures) != len(kinds) or (kinds > 9).any():
        raise UserError(f"{labels} has not a digit for each image of {images}; {_AGAIN}")
    return pictures, kinds


def _idx(path: Path, dimensions: int) -> np.ndarray:
    """The bytes of an IDX file: two zero bytes, 8 for unsigned bytes, the number of dimensions, sizes, data.

    Not by torchvision, which believes the sizes: here the memory taken is what is there, and within a limit.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            if file.read(4) != bytes([0, 0, 8, dimensions]):
                raise ValueError(f"it is no IDX file of bytes in {dimensions} dimensions")
            header = file.read(4 * dimensions)
            sizes = struct.unpack(f">{dimensions}i", header)
            if min(sizes) < 1 or math.prod(sizes) > LARGEST:
                raise ValueError(f"its sizes are {sizes}")
            content = bytearray(file.read(math.prod(sizes) + 1))
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile, struct.error) as error:
        raise UserError(f"{path} is damaged ({error}); {_AGAIN}") from None
    if len(content) != math.prod(sizes):
        raise UserError(f"{path} is damaged (its sizes are {sizes}, which is not what follows); {_AGAIN}")
    return np.frombuffer(content, dtype=np.uint8).reshape(sizes)


def classes(dataset: str) -> tuple[str, ...]:
    """The names of the ten classes; digits are named by themselves."""
    kind = CLASSES.get(dataset, "MNIST")
    if kind == "MNIST":  # torchvision's import takes three seconds
        return tuple("0123456789")
    return tuple(getattr(torchvision_mnist(), kind).classes)
