"""The handwritten digits of scikit-learn, as files in the format of MNIST: they need no network."""

from pathlib import Path

from sources import idx

NAME = "uci-digits"
FILES = (*idx.names("test"), *idx.names("train"))
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
    for split, part in (("test", slice(-TEST, None)), ("train", slice(None, -TEST))):
        for name, values in zip(idx.names(split), (images, labels), strict=True):
            idx.write(folder / name, values[part])
