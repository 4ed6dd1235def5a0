"""Weights with the settings that build their model, as safetensors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from workflow.core.errors import damaged
from workflow.core.files import write_bytes


def write_weights(path: Path | str, tensors: Mapping[str, torch.Tensor], about: Mapping[str, Any]) -> None:
    """Writes tensors, and `about` as the only metadata key: more have no fixed order (safetensors #584)."""
    content = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(about, sort_keys=True)
    write_bytes(path, safetensors.torch.save(content, metadata={"about": text}))


def read_weights(path: Path | str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Reads the tensors and `about`, without pickle; raises a UserError if the file is damaged."""
    content = Path(path).read_bytes()
    try:
        tensors = safetensors.torch.load(content)
        size = int.from_bytes(content[:8], "little")
        return tensors, dict(json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["about"]))
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise damaged(path, error) from None
