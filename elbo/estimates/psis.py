"""How heavy the tail of importance weights is: the Pareto k, and whether to trust an estimate.

Weights whose tail is a generalized Pareto distribution of shape k have 1/k finite moments. From k = 0.7 on,
or less with few samples, the error of their mean is larger than any practical number of samples can repair
(Vehtari, Simpson, Gelman, Yao and Gabry, Pareto Smoothed Importance Sampling, JMLR 2024). ArviZ fits one set
of weights in a call and comes with SciPy and xarray; these are few lines, for all images at once.
"""

import math

import torch
from torch import Tensor

PRIOR_WEIGHT, PRIOR_K = 10, 0.5  # observations that k = 0.5 counts for, which steadies short tails
FEWEST = 25  # samples: their tail is five of them


def tail_length(samples: int) -> int:
    """How many of the largest weights the Pareto distribution is fitted to."""
    return min(samples // 5, math.floor(3 * math.sqrt(samples)))


def largest_trusted(samples: int) -> float:
    """The Pareto k up to which `samples` weights give a reliable mean: min(1 − 1 / log10 S, 0.7)."""
    return min(1 - 1 / math.log10(samples), 0.7)


def pareto_k(largest: Tensor) -> Tensor:
    """(N,) the Pareto k of weights, by the tail_length(S) + 1 largest of their logarithms.

    Args:
        largest: (tail + 1, N) of S log-weights, descending; the last one is the threshold, which the others
            exceed.

    Returns:
        k; 0 where all of them are equal.

    Raises:
        ValueError: fewer than five weights exceed the threshold (S is below `FEWEST`).
    """
    if len(largest) < 6:
        raise ValueError(f"a tail of {len(largest) - 1} weights is too short for a Pareto k: take {FEWEST}")
    weights = (largest - largest[0]).double().exp()
    excess = (weights[:-1] - weights[-1]).T.flip(1)  # (N, tail) ascending
    equal = excess[:, -1] <= 0
    excess = torch.where(equal[:, None], 1.0, excess).clamp(min=1e-300)
    return torch.where(equal, 0.0, _shape(excess))


def _shape(excess: Tensor) -> Tensor:
    """The shape (N,) of generalized Pareto distributions, by samples (N, M) that ascend.

    Zhang and Stephens (A New and Efficient Estimation Method for the Generalized Pareto Distribution,
    Technometrics 2009): b = −k / scale is averaged over a grid by its profile likelihood, and k follows.
    """
    count = excess.shape[1]
    points = 30 + math.isqrt(count)
    grid = 1 - (points / (torch.arange(1, points + 1, dtype=torch.float64) - 0.5)).sqrt()
    quartile, top = excess[:, math.floor(count / 4 + 0.5) - 1, None], excess[:, -1:]
    b = 1 / top + grid / (3 * quartile)  # (N, points)
    k = torch.stack([torch.log1p(-column[:, None] * excess).mean(1) for column in b.unbind(1)], 1)
    profile = count * ((-b / k).log() - k - 1)
    mean = (profile.softmax(1) * b).sum(1, keepdim=True)
    shape = torch.log1p(-mean * excess).mean(1)
    return (count * shape + PRIOR_WEIGHT * PRIOR_K) / (count + PRIOR_WEIGHT)
