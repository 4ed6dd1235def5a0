"""MNIST and its look-alikes by torchvision's tables, and torchvision itself beside a CPU-only torch."""

from __future__ import annotations

import gzip
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

CLASSES = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}


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


def read_idx(images: Path, labels: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Reads one split.

    Args:
        images: an IDX file of (N, H, W) bytes, gzipped if its name ends so.
        labels: an IDX file of N bytes, the same.

    Returns:
        images (N, H, W) uint8 and labels (N,) uint8.
    """
    mnist = torchvision_mnist()
    import torch

    with tempfile.TemporaryDirectory() as folder:
        plain = [_unzipped(path, Path(folder)) for path in (images, labels)]
        return mnist.read_image_file(str(plain[0])), mnist.read_label_file(str(plain[1])).to(torch.uint8)


def _unzipped(path: Path, folder: Path) -> Path:
    if path.suffix != ".gz":
        return path
    plain = folder / path.stem
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    return plain


def classes(dataset: str) -> tuple[str, ...]:
    """The names of the ten classes; digits are named by themselves (torchvision says "7 - seven")."""
    kind = CLASSES.get(dataset, "MNIST")
    names = getattr(torchvision_mnist(), kind).classes
    return tuple(name.split(" - ")[0] for name in names)
