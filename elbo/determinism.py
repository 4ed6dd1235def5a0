"""Reproducible results from torch: named random streams and a fixed number of threads."""

import hashlib

import torch


def stream(seed: int, purpose: str, epoch: int = 0) -> torch.Generator:
    """A generator for one purpose (`init`, `shuffle`, `posterior`, …) in one epoch.

    Its seed is a hash of the three arguments, so an epoch can be repeated alone, and a new use of randomness
    changes no other stream.
    """
    name = f"{seed}/{purpose}/{epoch}".encode()
    value = int.from_bytes(hashlib.sha256(name).digest()[:8], "big") >> 1  # manual_seed takes 63 bits
    return torch.Generator().manual_seed(value)


def prepare(threads: int) -> None:
    """Fixes the number of threads, on which float sums depend.

    If several threads call the first exp and log of a process at once, these may take a path of low
    precision (pytorch #188792); here one thread calls them first.
    """
    torch.set_num_threads(threads)
    small = torch.ones(2)
    small.exp(), small.log()
