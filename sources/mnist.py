"""MNIST, Fashion-MNIST and KMNIST: addresses, md5 sums and class names from torchvision."""

import sys
from types import ModuleType

CLASSES = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}


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


def classes(dataset: str) -> tuple[str, ...]:
    """The names of the ten classes; digits are named by themselves."""
    kind = CLASSES.get(dataset, "MNIST")
    if kind == "MNIST":  # torchvision's import takes three seconds
        return tuple("0123456789")
    return tuple(getattr(torchvision_mnist(), kind).classes)
