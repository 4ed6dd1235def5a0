"""Weights, as safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from pipeline.console import damaged
from pipeline.files import write_bytes


def write_weights(path: Path | str, tensors: Mapping[str, torch.Tensor], about: str) -> None:
    """Writes safetensors; `about` is its one metadata key (several have no fixed order, safetensors #584)."""
    content = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, safetensors.torch.save(content, metadata={"about": about}))


def read_weights(path: Path | str) -> dict[str, torch.Tensor]:
    """Reads what `write_weights` wrote, without pickle.

    Raises:
        UserError: the file is damaged; it says how to have it made again.
        OSError: it cannot be read.
    """
    content = Path(path).read_bytes()
    try:
        return safetensors.torch.load(content)
    except (safetensors.SafetensorError, KeyError) as error:
        raise damaged(path, error) from None
