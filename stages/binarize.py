"""Stage binarize: every pixel 0 or 1, eight to a byte, with labels, by split."""

from pathlib import Path

import numpy as np

from sources import idx, mnist
from sources.class_names import name_fault
from stages.schema import Params
from workflow.core.dataset import Dataset
from workflow.core.errors import UserError, damaged
from workflow.core.files import read_json
from workflow.core.params import load
from workflow.runs.console import say

RAW = Path("data/raw")
ROWS = 4096  # images sampled at once


def main() -> None:
    binarization, threshold, seed, validation = load(
        Params, "data.binarization", "data.threshold", "data.seed", "data.validation"
    )
    source = read_json(RAW / "dataset.json")
    try:
        name, requested = source["dataset"], source["requested"]
        classes = tuple(source["classes"]) if "classes" in source else mnist.classes(name)
    except (KeyError, TypeError) as error:
        raise damaged(RAW / "dataset.json", f"it has no {error}") from None
    for label in classes:
        if fault := name_fault(label):
            raise UserError(f"{RAW / 'dataset.json'}: class {label!r} {fault}; its source must rename it")
    images: dict[str, np.ndarray] = {}
    labels: dict[str, np.ndarray] = {}
    intensities: dict[str, np.ndarray] = {}
    for split in ("train", "test"):
        file, label_file = (idx.find(RAW / name, file) for file in idx.names(split))
        pixels, codes = idx.read_split(file, label_file if classes else None, len(classes))
        parts = hold_out(len(pixels), validation) if split == "train" else {split: slice(None)}
        flat = pixels.reshape(len(pixels), -1)
        for part, rows in parts.items():
            fixed = binarization == "threshold"
            images[part] = above(flat[rows], threshold) if fixed else sampled(flat[rows], seed, part)
            labels |= {} if codes is None else {part: codes[rows]}
            intensities |= {part: flat[rows]} if binarization == "dynamic" and part == "train" else {}
    if classes and (lost := set(labels["test"]) - set(labels["train"])):
        fault = f"data.validation holds out all training images of class {classes[min(lost)]!r}"
        raise UserError(f"{fault}; hold out fewer, or mix the classes in the training images")
    dataset = Dataset(
        # numbers of sampled pixels never stand beside others without saying so
        name=name if binarization == "threshold" else f"{name}.{binarization}",
        fallback_for=requested if requested != name else "",
        classes=classes,
        shape=pixels.shape[1:],
        features=images,
        labels=labels,
        intensities=intensities,
    )
    dataset.save("data/binarized.npz")
    counts = ", ".join(f"{len(rows)} {split}" for split, rows in images.items())
    how = f"at {threshold}" if binarization == "threshold" else f"by sampling ({binarization})"
    say(f"{name}, binarized {how}: {counts} images")


def above(pixels: np.ndarray, threshold: float) -> np.ndarray:
    """Packed bits of pixels (N, width) uint8: 1 where byte / 255 >= threshold; at 0.5, bytes from 128 on."""
    return np.packbits(pixels >= threshold * 255, axis=1)


def sampled(pixels: np.ndarray, seed: int, split: str) -> np.ndarray:
    """Packed bits of pixels (N, width) uint8: each is 1 with its intensity, byte / 255, as probability.

    Salakhutdinov and Murray, On the quantitative analysis of deep belief networks, 2008. A row's bits do not
    depend on the number of rows after it.
    """
    import torch

    from elbo.determinism import stream

    generator = stream(seed, f"binarization {split}")
    bits = []
    for start in range(0, len(pixels), ROWS):
        intensity = torch.from_numpy(pixels[start : start + ROWS])
        # not by tensor.bernoulli, which has a path of its own on Intel's processors (pytorch #94388)
        chance = torch.rand(intensity.shape, generator=generator).mul_(255)
        bits.append(np.packbits((chance < intensity).numpy(), axis=1))
    return np.concatenate(bits)


def hold_out(count: int, validation: int) -> dict[str, slice]:
    """The rows of the `count` training images by split: the last `validation` of them are held out."""
    if validation >= count:
        raise UserError(f"data.validation is {validation} of {count} training images: leave some to train on")
    parts = {"train": slice(count - validation), "validation": slice(count - validation, count)}
    return parts if validation else {"train": slice(count)}
