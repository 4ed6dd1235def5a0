"""The datasets that stages hand on: one npz with features and labels by split, and their names."""

from collections.abc import Mapping
from dataclasses import dataclass
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
        classes: the names of the classes, in the order of their numbers.
        width: features per row; packed rows hold eight binary features in a byte.
        features: (N, ceil(width / 8)) uint8, packed bits, or (N, width) float32.
        labels: (N,) uint8.
    """

    name: str
    fallback_for: str
    classes: tuple[str, ...]
    width: int
    features: Mapping[str, np.ndarray]
    labels: Mapping[str, np.ndarray]

    @property
    def digest(self) -> str:
        """A name for the content: it changes with any value, label or split."""
        parts = [self.name.encode(), str(self.width).encode()]
        for split, rows in self.features.items():
            parts += [split.encode(), rows.tobytes(), self.labels[split].tobytes()]
        return digest(*parts)

    @property
    def splits(self) -> list[str]:
        return list(self.features)

    @property
    def identity(self) -> dict[str, str]:
        """What every metrics file says of its data."""
        content = {"dataset": self.name, "dataset_digest": self.digest}
        return content | ({"fallback_for": self.fallback_for} if self.fallback_for else {})

    @property
    def title(self) -> str:
        """The name for a figure; a fallback says so."""
        return self.name + (f", a stand-in for {self.fallback_for}" if self.fallback_for else "")

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

    def save(self, path: Path | str) -> None:
        arrays = {key: np.array(getattr(self, key)) for key in ("name", "fallback_for", "classes", "width")}
        arrays |= {f"features_{split}": rows for split, rows in self.features.items()}
        write_npz(path, **arrays, **{f"labels_{split}": labels for split, labels in self.labels.items()})


def load(path: Path | str) -> Dataset:
    """Reads a file of `Dataset.save`; raises a UserError if it is damaged."""
    arrays = read_npz(path)
    try:
        splits = [split for split in SPLITS if f"features_{split}" in arrays]
        return Dataset(
            name=str(arrays["name"]),
            fallback_for=str(arrays["fallback_for"]),
            classes=tuple(str(name) for name in arrays["classes"]),
            width=int(arrays["width"]),
            features={split: arrays[f"features_{split}"] for split in splits},
            labels={split: arrays[f"labels_{split}"] for split in splits},
        )
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(path, error) from None
