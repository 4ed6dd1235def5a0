"""The datasets that stages hand on: one npz with features and labels by split, and what they are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.arrays import read_npz, write_npz
from pipeline.console import damaged
from pipeline.files import digest

if TYPE_CHECKING:
    import torch

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Dataset:
    """Features and labels by split; splits stand in the order of `SPLITS`, and `validation` may be absent.

    Attributes:
        name: `mnist`, `annuli`, …: what the data are, not what was asked for.
        fallback_for: the dataset that was asked for and could not be had, or "".
        classes: the names of the classes, in the order of their numbers.
        width: features a row; packed rows hold eight binary features a byte.
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
        """Names what a model saw: it changes with any value, label or split."""
        parts = [self.name.encode(), str(self.width).encode()]
        for split in self.features:
            parts += [split.encode(), self.features[split].tobytes(), self.labels[split].tobytes()]
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
        asked = f", a stand-in for {self.fallback_for}" if self.fallback_for else ""
        return f"{self.name}{asked}"

    def inputs(self, split: str) -> torch.Tensor:
        """The features of a split, (N, width) float32; packed bits become 0.0 and 1.0."""
        import torch

        rows = self.features[split]
        if rows.dtype == np.uint8:
            rows = np.unpackbits(rows, axis=1, count=self.width)
        return torch.from_numpy(rows).float()

    def targets(self, split: str) -> torch.Tensor:
        """The labels of a split, (N,) int64."""
        import torch

        return torch.from_numpy(self.labels[split]).long()

    def save(self, path: Path | str) -> None:
        arrays = {f"features_{split}": self.features[split] for split in self.features}
        arrays |= {f"labels_{split}": self.labels[split] for split in self.labels}
        text = {"name": self.name, "fallback_for": self.fallback_for, "classes": self.classes}
        about = {key: np.array(value, dtype=np.str_) for key, value in text.items()}
        write_npz(path, width=np.array(self.width), **about, **arrays)


def load(path: Path | str) -> Dataset:
    """Reads what `Dataset.save` wrote, without pickle.

    Raises:
        UserError: the file is damaged; it says how to have it made again.
    """
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
