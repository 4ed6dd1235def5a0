"""Stage binarize: every pixel 0 or 1, eight to a byte, with labels, by split."""

from pathlib import Path

import numpy as np

from sources import mnist
from stages.schema import Params
from workflow.core.dataset import Dataset
from workflow.core.errors import UserError, damaged
from workflow.core.files import read_json
from workflow.core.params import load
from workflow.runs.console import say

RAW = Path("data/raw")


def main() -> None:
    threshold, validation = load(Params, "data.threshold", "data.validation")
    source = read_json(RAW / "dataset.json")
    try:
        name, requested = source["dataset"], source["requested"]
    except KeyError as error:
        raise damaged(RAW / "dataset.json", f"it has no {error}") from None
    images, labels = {}, {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        files = [find(RAW / name, f"{prefix}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")]
        pixels, digits = mnist.read_idx(*files)
        parts = hold_out(len(digits), validation) if split == "train" else {split: slice(None)}
        # intensity is a byte / 255: at 0.5, bytes from 128 on are 1
        bits = np.packbits(pixels.reshape(len(pixels), -1) >= threshold * 255, axis=1)
        for part, rows in parts.items():
            images[part], labels[part] = bits[rows], digits[rows]
    dataset = Dataset(
        name=name,
        fallback_for=requested if requested != name else "",
        classes=mnist.classes(name),
        shape=pixels.shape[1:],
        features=images,
        labels=labels,
    )
    dataset.save("data/binarized.npz")
    counts = ", ".join(f"{len(labels[split])} {split}" for split in dataset.splits)
    say(f"{name}, binarized at {threshold}: {counts} images")


def find(folder: Path, stem: str) -> Path:
    """The file, zipped or not; where neither exists the zipped one, which the reader reports as missing."""
    zipped, plain = folder / f"{stem}.gz", folder / stem
    return plain if plain.exists() and not zipped.exists() else zipped


def hold_out(count: int, validation: int) -> dict[str, slice]:
    """The rows of the `count` training images by split: the last `validation` of them are held out."""
    if validation >= count:
        raise UserError(f"data.validation is {validation} of {count} training images: leave some to train on")
    parts = {"train": slice(count - validation), "validation": slice(count - validation, count)}
    return parts if validation else {"train": slice(count)}
