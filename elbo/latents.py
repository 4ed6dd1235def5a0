"""How well the classes separate in the latent plane: neighbours, a linear probe, silhouettes, overlaps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Separation:
    """Of test points in the plane, C classes.

    Attributes:
        neighbours, probe: (N,) the class by k nearest neighbours and by logistic regression.
        confusion: (C, C) counts by actual (row) and neighbours' class.
        silhouette: (C,) the mean over points of a class, in [-1, 1] (Rousseeuw 1987).
    """

    labels: np.ndarray
    neighbours: np.ndarray
    probe: np.ndarray
    confusion: np.ndarray
    silhouette: np.ndarray


def separate(
    train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], classes: int, k: int, most: int
) -> Separation:
    """Fits on the training means (N, 2) and labels (N,), scores the test ones.

    Args:
        most: of the test points that the silhouette takes; it compares each with each.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import confusion_matrix, silhouette_samples
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    points, labels = test
    neighbours = KNeighborsClassifier(min(k, len(train[0]))).fit(*train).predict(points)
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(*train).predict(points)
    few, of_few = points[:most], labels[:most]
    values = silhouette_samples(few, of_few)
    silhouette = [
        values[of_few == label].mean() if (of_few == label).any() else 0.0 for label in range(classes)
    ]
    table = confusion_matrix(labels, neighbours, labels=range(classes))
    return Separation(labels, neighbours, probe, table, np.array(silhouette))


def recall(labels: np.ndarray, predicted: np.ndarray, classes: int) -> list[float]:
    """The share of each class that is predicted as such; 0 of a class without points."""
    counts = np.bincount(labels, minlength=classes)
    hits = np.bincount(labels[predicted == labels], minlength=classes)
    return (hits / counts.clip(min=1)).tolist()


def confused_pairs(found: Separation, points: np.ndarray) -> list[dict[str, float]]:
    """All pairs of classes by how often either is taken for the other, most often first.

    Each has `first`, `second`, `images` (so confused), `share` (of both classes' images), and the median
    place of these images, `z1` and `z2`.
    """
    counts = found.confusion
    sizes = counts.sum(1)
    pairs = []
    for first in range(len(counts)):
        for second in range(first + 1, len(counts)):
            swapped = ((found.labels == first) & (found.neighbours == second)) | (
                (found.labels == second) & (found.neighbours == first)
            )
            place = np.median(points[swapped], axis=0) if swapped.any() else np.zeros(2)
            images = int(swapped.sum())
            share = images / max(1, int(sizes[first] + sizes[second]))
            row = {"first": first, "second": second, "images": images, "share": share}
            pairs.append(row | {"z1": float(place[0]), "z2": float(place[1])})
    return sorted(pairs, key=lambda pair: (-pair["share"], pair["first"], pair["second"]))
