"""Randomness by name: each use has a stream of its own, so none can shift another."""

from __future__ import annotations

import hashlib

import torch


def stream(seed: int, purpose: str, epoch: int = 0) -> torch.Generator:
    """A generator for one purpose (`init`, `shuffle`, `posterior`, …) in one epoch.

    It is seeded with a hash of its three names, so an epoch can be replayed alone, and a new consumer of
    randomness leaves all old ones as they were.
    """
    name = f"{seed}/{purpose}/{epoch}".encode()
    value = int.from_bytes(hashlib.sha256(name).digest()[:8], "big") >> 1  # manual_seed takes 63 bits
    return torch.Generator().manual_seed(value)
