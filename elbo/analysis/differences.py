"""Paired differences of two models on the same images, and their standard errors.

ELBO = log p(x) − inference gap, so a gain in ELBO is the sum of a gain in log p(x), due to the decoder alone,
and a smaller gap, due to inference. An image is hard or easy for both models, so its differences vary less
than its values; the standard error of the gain is that of the differences.
"""

import math
from collections.abc import Mapping

import numpy as np


def paired(ours: Mapping[str, np.ndarray], base: Mapping[str, np.ndarray]) -> dict[str, float | None]:
    """Means over images of ours − base, and as `<name>_se` their standard errors, None of one image; nats.

    Args:
        ours, base: of each model, the images' `index` (N,), `elbo` (N,) and `log_likelihood` (N,).

    Raises:
        ValueError: the images differ.
    """
    if not np.array_equal(ours["index"], base["index"]):
        raise ValueError("a paired difference needs the same images in the same order")
    elbo, exact = (ours[name] - base[name] for name in ("elbo", "log_likelihood"))
    count = len(elbo)
    found: dict[str, float | None] = {"images": count}
    for name, values in (("elbo", elbo), ("log_likelihood", exact), ("inference_gap", exact - elbo)):
        average = math.fsum(values) / count
        squares = math.fsum((values - average) ** 2)
        error = math.sqrt(squares / (count - 1) / count) if count > 1 else None
        found |= {name: average, f"{name}_se": error}
    return found
