"""MNIST, Fashion-MNIST and KMNIST: addresses and md5 sums from torchvision, and their IDX files."""

import gzip
import math
import struct
import sys
import zlib
from pathlib import Path
from types import ModuleType

import numpy as np

from workflow.core.errors import UserError

LARGEST = 1 << 28  # bytes of a split; MNIST's training images are 47 million
CLASSES = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}
_REMEDY = "delete data/raw, then run `dvc repro`"


def torchvision_mnist() -> ModuleType:
    """torchvision.datasets.mnist, also beside a CPU-only torch.

    The torchvision of the package index registers C++ operators that a CPU-only torch does not load, so its
    import fails (pytorch/vision #9085). Its datasets use none of them: if the import fails in this way, the
    two missing operators are declared and the import is tried again.

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
        library = torch.library.Library("torchvision", "FRAGMENT")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        from torchvision.datasets import mnist

        mnist._declared_operators = library  # keeps the declarations, which end with this object
    return mnist


def files(dataset: str) -> dict[str, str]:
    """The names and md5 sums of a dataset's four gzipped IDX files."""
    return dict(getattr(torchvision_mnist(), CLASSES[dataset]).resources)


def mirrors(dataset: str) -> list[str]:
    """The addresses of folders that hold these files, the best first."""
    return [url.rstrip("/") for url in getattr(torchvision_mnist(), CLASSES[dataset]).mirrors]


def read_idx(images: Path, labels: Path) -> tuple[np.ndarray, np.ndarray]:
    """The images (N, H, W) and labels (N,) below 10 of a split, uint8, from IDX files, gzipped or not.

    Raises:
        UserError: a file is damaged, or the two do not fit together.
        OSError: a file cannot be read.
    """
    pixels, digits = _idx(images, 3), _idx(labels, 1)
    if len(pixels) != len(digits):
        raise UserError(f"{images}, {labels}: image and label counts differ; {_REMEDY}")
    if digits.max() > 9:
        raise UserError(f"{labels}: a label is above 9; {_REMEDY}")
    return pixels, digits


def _idx(path: Path, dimensions: int) -> np.ndarray:
    """The bytes of an IDX file: two zero bytes, 8 for unsigned bytes, the number of dimensions, sizes, data.

    Unlike torchvision it does not trust the sizes: it takes no more memory than there are data.
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
        raise UserError(f"{path} is damaged ({error}); {_REMEDY}") from None


def classes(dataset: str) -> tuple[str, ...]:
    """The names of the ten classes; digits are named by themselves."""
    kind = CLASSES.get(dataset, "MNIST")
    if kind == "MNIST":  # torchvision's import takes three seconds
        return tuple("0123456789")
    return tuple(getattr(torchvision_mnist(), kind).classes)
