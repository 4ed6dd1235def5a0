"""How torch computes: the number of threads, and one known fault kept away."""

from __future__ import annotations

import torch


def prepare(threads: int) -> None:
    """Fixes the number of threads, on which float sums depend.

    The first exp and log of a process, when several threads make them at once, may take a path of low
    precision (pytorch #188792); here one thread makes them first.
    """
    torch.set_num_threads(threads)
    small = torch.ones(2)
    small.exp(), small.log()
