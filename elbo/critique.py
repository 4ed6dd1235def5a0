"""What a judge, a classifier of the data, makes of images: verdicts, blur, and distances of features."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from elbo.classifier import Classifier

CHUNK = 2000  # rows of a distance matrix at once


@dataclass(frozen=True)
class Verdicts:
    """Of N images.

    Attributes:
        label: (N,) the likeliest class.
        confidence: (N,) its probability.
        entropy: (N,) of the judge's distribution over classes, nats.
    """

    label: Tensor
    confidence: Tensor
    entropy: Tensor


def binarized(means: Tensor) -> Tensor:
    """Bernoulli means (N, pixels) to their likeliest images: the judge knows images of 0.0 and 1.0."""
    return (means >= 0.5).float()


def judge(classifier: Classifier, x: Tensor) -> Verdicts:
    """Verdicts on images (N, pixels) of 0.0 and 1.0."""
    p = classifier.probabilities(x).double()
    confidence, label = p.max(1)
    return Verdicts(label, confidence, torch.special.entr(p).sum(1))


def pixel_entropy(means: Tensor) -> Tensor:
    """(N,) the mean entropy of Bernoulli pixels, nats a pixel: 0 where all are certain, log 2 at the most."""
    return (torch.special.entr(means) + torch.special.entr(1 - means)).double().mean(1)


def histogram(labels: Tensor, classes: int) -> Tensor:
    """(classes,) the share of each class, float64."""
    return torch.bincount(labels, minlength=classes).double() / len(labels)


def total_variation(p: Tensor, q: Tensor) -> float:
    """½ Σ |p − q| of two histograms: the share that would have to move."""
    return 0.5 * (p - q).abs().sum().item()


def expected_total_variation(p: Tensor, first: int, second: int) -> float:
    """What two samples of the same distribution p show of it by chance (of normal counts)."""
    deviation = (p * (1 - p) * (1 / first + 1 / second)).sqrt()
    return 0.5 * math.sqrt(2 / math.pi) * deviation.sum().item()


def mean(values: Tensor) -> float:
    """The mean of numbers or truths (N,); 0 where there are none."""
    return values.double().mean().item() if len(values) else 0.0


def by_class(
    names: Sequence[str], shares: Mapping[str, Tensor], measures: Mapping[str, tuple[Tensor, Tensor]]
) -> list[dict[str, float | str]]:
    """One row a class: its shares, and of each measure, (labels, values), the mean over its images."""
    return [
        {"class": name}
        | {key: value[label].item() for key, value in shares.items()}
        | {key: mean(values[labels == label]) for key, (labels, values) in measures.items()}
        for label, name in enumerate(names)
    ]


def usual_error(labels: Tensor, verdicts: Tensor, classes: int) -> list[int | None]:
    """Of each class, the other class that its images (N,) are most often taken for; None: never."""
    wrong = [verdicts[(labels == label) & (verdicts != label)] for label in range(classes)]
    return [int(of.mode().values) if len(of) else None for of in wrong]


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """|μ_a − μ_b|² + tr(C_a + C_b − 2 (C_a C_b)^½) of features (N, D) and (M, D).

    (Heusel and others 2017, there of Inception's features.) The trace of the root is that of the
    symmetric C_a^½ C_b C_a^½.
    """
    a, b = a.double(), b.double()
    of_a, of_b = a.T.cov(), b.T.cov()
    values, vectors = torch.linalg.eigh(of_a)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    inner = torch.linalg.eigvalsh(root @ of_b @ root).clamp(min=0).sqrt().sum()
    squared = (a.mean(0) - b.mean(0)).square().sum()
    return (squared + of_a.trace() + of_b.trace() - 2 * inner).item()


def coverage(of: Tensor, by: Tensor, k: int) -> float:
    """The share of features `of` (N, D) that lie within the k-th neighbour's distance of any of `by` (M, D).

    Precision is the coverage of samples by data, recall that of data by samples (Kynkäänniemi and others
    2019).
    """
    radius = torch.cat([torch.cdist(rows, by).kthvalue(k + 1).values for rows in by.split(CHUNK)])
    inside = [(torch.cdist(rows, by) <= radius).any(1) for rows in of.split(CHUNK)]
    return torch.cat(inside).double().mean().item()


def distances(images: Tensor, data: Tensor, k: int) -> dict[str, float]:
    """Fréchet distance, precision and recall of features (N, D) against those of data (M, D)."""
    return {
        "frechet_distance": frechet_distance(images, data),
        "precision": coverage(images, data, k),
        "recall": coverage(data, images, k),
    }
