"""The handwritten digits of scikit-learn, as files in the format of MNIST: they need no network."""

from pathlib import Path

import numpy as np

from workflow.core.files import write_bytes

NAME = "uci-digits"
FILES = tuple(
    f"{split}-{kind}-ubyte" for split in ("t10k", "train") for kind in ("images-idx3", "labels-idx1")
)
TEST = 360  # the last fifth of the 1,797 images, by other writers than the first ones: a fixed split
SIDE = 28


def write(folder: Path) -> None:
    """Writes the 8x8 images of 17 grey levels, resized to 28x28 bytes, as four IDX files.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository, 1998, in the copy that scikit-learn distributes.
    """
    import torch
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = torch.from_numpy(digits.images)[:, None] / 16
    large = torch.nn.functional.interpolate(small, (SIDE, SIDE), mode="bilinear")[:, 0]
    images, labels = (large * 255).round().numpy(), digits.target
    for name, part in (("t10k", slice(-TEST, None)), ("train", slice(None, -TEST))):
        _write_idx(folder / f"{name}-images-idx3-ubyte", images[part])
        _write_idx(folder / f"{name}-labels-idx1-ubyte", labels[part])


def _write_idx(path: Path, values: np.ndarray) -> None:
    """IDX: two zero bytes, 8 for unsigned bytes, the number of dimensions, each as big-endian int32, data."""
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
    write_bytes(path, header + values.astype(np.uint8).tobytes())
