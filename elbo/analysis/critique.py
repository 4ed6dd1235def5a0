"""How a judge, a classifier of the data, rates images: verdicts, blur, and distances of features."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elbo.models.classifier import Classifier
from elbo.models.vae import VAE

CHUNK = 2000  # rows of a distance matrix computed at once


@dataclass(frozen=True)
class Verdicts:
    """The judge's verdicts on N images."""

    label: Tensor  # (N,) the most probable class
    confidence: Tensor  # (N,) its probability
    entropy: Tensor  # (N,) of the judge's distribution over classes, nats


def binarized(means: Tensor) -> Tensor:
    """The most probable images (N, pixels) of Bernoulli means: the judge is trained on 0.0 and 1.0."""
    return (means >= 0.5).float()


def judge(classifier: Classifier, x: Tensor) -> Verdicts:
    """Verdicts on images (N, pixels) of 0.0 and 1.0."""
    p = classifier.probabilities(x).double()
    confidence, label = p.max(1)
    return Verdicts(label, confidence, torch.special.entr(p).sum(1))


def pixel_entropy(means: Tensor) -> Tensor:
    """(N,) the mean entropy of Bernoulli pixels, nats per pixel: from 0, all certain, to log 2."""
    return (torch.special.entr(means) + torch.special.entr(1 - means)).double().mean(1)


def histogram(labels: Tensor, classes: int) -> Tensor:
    """(classes,) the share of each class, float64."""
    return torch.bincount(labels, minlength=classes).double() / len(labels)


def total_variation(p: Tensor, q: Tensor) -> float:
    """½ Σ |p − q| of two histograms: the share that would have to move to make them equal."""
    return 0.5 * (p - q).abs().sum().item()


def expected_total_variation(p: Tensor, first: int, second: int) -> float:
    """The expected total variation of two samples of the same distribution p, with normal counts."""
    deviation = (p * (1 - p) * (1 / first + 1 / second)).sqrt()
    return 0.5 * math.sqrt(2 / math.pi) * deviation.sum().item()


def mean(values: Tensor) -> float | None:
    """The mean of numbers or booleans (N,); None if there are none."""
    return values.double().mean().item() if len(values) else None


def by_class(
    names: Sequence[str], shares: Mapping[str, Tensor], measures: Mapping[str, tuple[Tensor, Tensor]]
) -> list[dict[str, Any]]:
    """One row per class: its shares, and the mean over its images of each measure, (labels, values)."""
    return [
        {"class": name}
        | {key: value[label].item() for key, value in shares.items()}
        | {key: mean(values[labels == label]) for key, (labels, values) in measures.items()}
        for label, name in enumerate(names)
    ]


def usual_error(labels: Tensor, verdicts: Tensor, classes: int) -> list[int | None]:
    """For each class the other class that most of its misjudged images (N,) are taken for, or None."""
    wrong = [verdicts[(labels == label) & (verdicts != label)] for label in range(classes)]
    return [int(others.mode().values) if len(others) else None for others in wrong]


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """|μ_a − μ_b|² + tr(C_a + C_b − 2 (C_a C_b)^½) of features (N, D) and (M, D).

    Heusel and others 2017, for Inception's features. The trace of (C_a C_b)^½ is that of (C_a^½ C_b C_a^½)^½.
    """
    a, b = a.double(), b.double()
    cov_a, cov_b = a.T.cov(), b.T.cov()
    values, vectors = torch.linalg.eigh(cov_a)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    inner = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    squared = (a.mean(0) - b.mean(0)).square().sum()
    return (squared + cov_a.trace() + cov_b.trace() - 2 * inner).item()


def coverage(points: Tensor, centres: Tensor, k: int) -> float:
    """The share of points (N, D) that lie within the k-th neighbour's distance of any of the centres (M, D).

    Precision is the coverage of samples by data, recall that of data by samples (Kynkäänniemi and others
    2019).
    """
    radius = torch.cat([torch.cdist(rows, centres).kthvalue(k + 1).values for rows in centres.split(CHUNK)])
    inside = [(torch.cdist(rows, centres) <= radius).any(1) for rows in points.split(CHUNK)]
    return torch.cat(inside).double().mean().item()


def distances(images: Tensor, data: Tensor, k: int) -> dict[str, Any]:
    """Fréchet distance, precision and recall of features (N, D) against those of data (M, D).

    k neighbours count, or all others where there are fewer. One image alone has no neighbour and no
    covariance: all are None.
    """
    k = min(k, len(images) - 1, len(data) - 1)
    if k < 1:
        return dict.fromkeys(("frechet_distance", "precision", "recall"))
    return {
        "frechet_distance": frechet_distance(images, data),
        "precision": coverage(images, data, k),
        "recall": coverage(data, images, k),
    }


def regions(model: VAE, classifier: Classifier, extent: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The class of the decoded image at `count` x `count` latents within ±extent, and the classifier's
    probability of it; z_2 rises with the row.
    """
    line = torch.linspace(-extent, extent, count)
    latents = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).flatten(0, 1)
    seen = judge(classifier, binarized(model.decode(latents)))
    return seen.label.reshape(count, count).numpy(), seen.confidence.reshape(count, count).numpy()
