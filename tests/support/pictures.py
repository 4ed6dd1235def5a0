"""Small sets of pictures, as a person may have them: PNG files in folders by split and class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SHAPES = ("cross", "disc", "square", "stripes")


def write(folder: Path, images: np.ndarray, names: list[str], *, classes: bool = True) -> None:
    """Images (N, H, W) of 0 to 1 as train/<class>/<number>.png, every fifth as test/…; or without classes."""
    for number, (image, name) in enumerate(zip(images, names, strict=True)):
        path = folder / ("train" if number % 5 else "test") / (name if classes else "") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.round(255 * image).astype(np.uint8)).save(path)


def write_digits(folder: Path, count: int | None = None, *, classes: bool = True) -> None:
    """scikit-learn's digits of 8 x 8 pixels: the first `count` of each class, or all."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    chosen = np.concatenate([np.flatnonzero(digits.target == label)[:count] for label in range(10)])
    names = [str(label) for label in digits.target[chosen]]
    write(folder, digits.images[chosen] / 16, names, classes=classes)


def write_shapes(folder: Path, count: int) -> None:
    """Made pictures of 20 x 32 pixels: `count` of each class of `SHAPES`, at random places and sizes."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:20, :32]
    images, names = [], []
    for name in SHAPES:
        for _ in range(count):
            size = generator.uniform(4, 8)
            dy, dx = y - generator.uniform(8, 12), x - generator.uniform(9, 23)
            ink = {
                "cross": (np.minimum(abs(dy), abs(dx)) < 1.6) & (np.maximum(abs(dy), abs(dx)) < size),
                "disc": dy**2 + dx**2 < size**2,
                "square": np.maximum(abs(dy), abs(dx)) < size,
                "stripes": (x + y * generator.choice([-1, 0, 1]) + size).astype(int) % 6 < 3,
            }[name]
            images.append(np.where(ink, generator.uniform(0.7, 1), generator.uniform(0, 0.3)))
            names.append(name)
    write(folder, np.stack(images), names)
