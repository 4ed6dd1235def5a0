"""The handwritten digits that scikit-learn carries, written as MNIST is: they need no network."""

from __future__ import annotations

from pathlib import Path

from pipeline.files import write_bytes

NAME = "uci-digits"
FILES = (
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
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
    images = (large * 255).round().to(torch.uint8)
    labels = torch.from_numpy(digits.target).to(torch.uint8)
    for name, part in (("t10k", slice(-TEST, None)), ("train", slice(None, -TEST))):
        _write_idx(folder / f"{name}-images-idx3-ubyte", images[part])
        _write_idx(folder / f"{name}-labels-idx1-ubyte", labels[part])


def _write_idx(path: Path, values: object) -> None:
    """IDX: two zero bytes, 8 for unsigned bytes, the number of dimensions, each as big-endian int32, data."""
    array = values.numpy()  # type: ignore[attr-defined]
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    write_bytes(path, bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())
