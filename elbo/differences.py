"""What one model gains over another on the same images: paired differences and their standard errors.

ELBO = log p(x) − inference gap, so a gain of the ELBO splits into one of the decoder, which alone decides
log p(x), and a smaller gap, which is inference's. Each image is harder or easier for both models: the
differences by image vary less than the values do, and their error is the one that belongs to the gain.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np


def paired(ours: Mapping[str, np.ndarray], base: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Means over images of ours − base, and their standard errors as `<name>_se`; nats.

    Args:
        ours: `index` (N,) which images, `elbo` (N,) and `log_likelihood` (N,) of each.
        base: the same of the other model.

    Raises:
        ValueError: they are not of the same images.
    """
    if not np.array_equal(ours["index"], base["index"]):
        raise ValueError("a paired difference needs the same images in the same order")
    elbo, exact = (ours[name] - base[name] for name in ("elbo", "log_likelihood"))
    count = len(elbo)
    found: dict[str, float] = {"images": count}
    for name, values in (("elbo", elbo), ("log_likelihood", exact), ("inference_gap", exact - elbo)):
        average = math.fsum(values) / count
        variance = math.fsum((values - average) ** 2) / max(1, count - 1)
        found |= {name: average, f"{name}_se": math.sqrt(variance / count)}
    return found
