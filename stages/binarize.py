"""Stage binarize: every pixel 0 or 1, eight to a byte, with labels, and the splits that training may see."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline import mnist_family
from pipeline.console import UserError, damaged, run, say
from pipeline.dataset import Dataset
from pipeline.files import read_json
from pipeline.params import load
from stages.schema import Params

RAW = Path("data/raw")
OUTPUT = Path("data/binarized.npz")


def main() -> None:
    threshold, validation = load(Params, "data.threshold", "data.validation")
    source = read_json(RAW / "dataset.json")
    try:
        name, requested = source["dataset"], source["requested"]
    except KeyError as error:
        raise damaged(RAW / "dataset.json", f"it has no {error}") from None
    images, labels = {}, {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        pixels, digits = mnist_family.read_idx(
            *(find(RAW / name, f"{prefix}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
        )
        # intensity is a byte / 255: at 0.5, bytes from 128 on are 1
        images[split] = np.packbits(pixels.reshape(len(pixels), -1) >= threshold * 255, axis=1)
        labels[split] = digits
    if validation:
        hold_out(images, labels, validation)
    dataset = Dataset(
        name=name,
        fallback_for=requested if requested != name else "",
        classes=mnist_family.classes(name),
        width=pixels[0].size,
        features=images,
        labels=labels,
    )
    dataset.save(OUTPUT)
    counts = ", ".join(f"{len(labels[split])} {split}" for split in dataset.splits)
    say(f"{name}, binarized at {threshold}: {counts} images")


def find(folder: Path, stem: str) -> Path:
    places = (folder / f"{stem}.gz", folder / stem)
    # where there is neither, the reader says that the first is missing
    return next((path for path in places if path.exists()), places[0])


def hold_out(images: dict[str, np.ndarray], labels: dict[str, np.ndarray], count: int) -> None:
    """Moves the last `count` training images into a validation split."""
    if count >= len(labels["train"]):
        raise UserError(
            f"data.validation is {count}, but there are {len(labels['train'])} training images: "
            "some must remain to train on"
        )
    for table in (images, labels):
        train, test = table["train"], table["test"]
        table.clear()
        table |= {"train": train[:-count], "validation": train[-count:], "test": test}


if __name__ == "__main__":
    run(main)
