"""What makes torch repeat itself: named streams of randomness, and a fixed number of threads."""

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


def prepare(threads: int) -> None:
    """Fixes the number of threads, on which float sums depend.

    The first exp and log of a process, when several threads make them at once, may take a path of low
    precision (pytorch #188792); here one thread makes them first.
    """
    torch.set_num_threads(threads)
    small = torch.ones(2)
    small.exp(), small.log()
