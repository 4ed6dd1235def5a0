"""The datasets that stages hand on: one npz with features and labels by split, and their names."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workflow.core.arrays import read_npz, write_npz
from workflow.core.errors import damaged
from workflow.core.files import digest

if TYPE_CHECKING:
    from torch import Tensor

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Dataset:
    """Features and labels by split; splits stand in the order of `SPLITS`, and `validation` may be absent.

    Attributes:
        name: the dataset that is here, which may not be the one requested.
        fallback_for: the dataset that was requested, where no source of it works; else "".
        classes: the names of the classes, in the order of their numbers; () without labels.
        shape: (height, width) of pictures, or (features,) of points.
        features: (N, ceil(width / 8)) uint8, eight binary features packed in a byte, or (N, width) float32.
        labels: (N,) uint8; no entry if the data have no labels.
        intensities: (N, width) uint8, from 0 to 255: the probabilities from which training samples its
            binary features anew each epoch. Of the training split, or no entry.
    """

    name: str
    fallback_for: str
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    features: Mapping[str, np.ndarray]
    labels: Mapping[str, np.ndarray]
    intensities: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """A name for the content: it changes with any value, label, split or shape."""
        parts = [self.name.encode(), str(self.width).encode()]
        for split, rows in self.features.items():
            parts += [split.encode(), rows.tobytes()]
            parts += [self.labels[split].tobytes()] if split in self.labels else []
        for split, rows in self.intensities.items():
            parts += [f"intensities {split}".encode(), rows.tobytes()]
        return digest(*parts, *([] if self._usual_shape else [str(self.shape).encode()]))

    @property
    def width(self) -> int:
        """Features per row."""
        return math.prod(self.shape)

    @property
    def labelled(self) -> bool:
        """Whether each row has a label."""
        return bool(self.labels)

    @property
    def splits(self) -> list[str]:
        return list(self.features)

    @property
    def identity(self) -> dict[str, str]:
        """What every metrics file says of its data."""
        content = {"dataset": self.name, "dataset_digest": self.digest}
        return content | ({"fallback_for": self.fallback_for} if self.fallback_for else {})

    def inputs(self, split: str) -> "Tensor":
        """The features of a split, (N, width) float32; packed bits become 0.0 and 1.0."""
        import torch  # takes seconds, and not every stage needs tensors

        rows = self.features[split]
        if rows.dtype == np.uint8:
            rows = np.unpackbits(rows, axis=1, count=self.width)
        return torch.from_numpy(rows).float()

    def targets(self, split: str) -> "Tensor":
        """The labels of a split, (N,) int64."""
        import torch

        return torch.from_numpy(self.labels[split]).long()

    def members(self, split: str, rows: "Tensor") -> "dict[str, Tensor]":
        """Which of some rows (N,) of a split are of which class: by name (N,) bool, of the classes that they
        have. Empty without labels.
        """
        if not self.labelled:
            return {}
        labels = self.targets(split)[rows]
        return {self.classes[label]: labels == label for label in labels.unique().tolist()}

    def save(self, path: Path | str) -> None:
        arrays = {key: np.array(getattr(self, key)) for key in ("name", "fallback_for", "width")}
        arrays["classes"] = np.array(self.classes, dtype=str)
        for kind in ("features", "labels", "intensities"):
            arrays |= {f"{kind}_{split}": rows for split, rows in getattr(self, kind).items()}
        write_npz(path, **arrays, **({} if self._usual_shape else {"shape": np.array(self.shape)}))

    @property
    def _usual_shape(self) -> bool:
        """Whether the width says the shape, so that a file need not."""
        return self.shape == _usual(self.width, next(iter(self.features.values())))


def _usual(width: int, rows: np.ndarray) -> tuple[int, ...]:
    """The shape of a row of `width` features: a square if they are packed bits, or else a point."""
    side = math.isqrt(width)
    return (side, side) if rows.dtype == np.uint8 and side * side == width else (width,)


def load(path: Path | str) -> Dataset:
    """Reads a file of `Dataset.save`; raises a UserError if it is damaged."""
    arrays = read_npz(path)
    try:
        features, labels, intensities = (
            {split: arrays[f"{kind}_{split}"] for split in SPLITS if f"{kind}_{split}" in arrays}
            for kind in ("features", "labels", "intensities")
        )
        if not features:
            raise ValueError("it has no features")
        usual = _usual(int(arrays["width"]), next(iter(features.values())))
        data = Dataset(
            name=str(arrays["name"]),
            fallback_for=str(arrays["fallback_for"]),
            classes=tuple(str(name) for name in arrays["classes"]),
            shape=tuple(int(size) for size in arrays["shape"]) if "shape" in arrays else usual,
            features=features,
            labels=labels,
            intensities=intensities,
        )
        if data.width != int(arrays["width"]) or (labels and labels.keys() != features.keys()):
            raise ValueError("its shape, labels and features do not fit together")
        return data
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(path, error) from None
