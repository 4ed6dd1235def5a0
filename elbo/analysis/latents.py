"""How well the classes separate in latent space: neighbours, a linear probe, silhouettes, overlaps."""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Separation:
    """N test points, of C classes."""

    labels: np.ndarray  # (N,) the actual class
    neighbours: np.ndarray  # (N,) the class by k nearest neighbours
    probe: np.ndarray  # (N,) the class by logistic regression
    confusion: np.ndarray  # (C, C) counts by actual (row) and neighbours' class
    silhouette: np.ndarray  # (C,) the mean over points of a class, in [-1, 1] (Rousseeuw 1987); NaN of none


def separate(
    train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], classes: int, k: int, most: int
) -> Separation:
    """Fits on the training means (N, D) and labels (N,), scores the test ones.

    A silhouette is 0 by definition for the only point of a class, and NaN where all points are of one class.

    Args:
        most: number of test points for the silhouette, whose cost is quadratic in it.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import confusion_matrix, silhouette_samples
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    points, labels = test
    neighbours = KNeighborsClassifier(min(k, len(train[0]))).fit(*train).predict(points)
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(*train).predict(points)
    few, their = points[:most], labels[:most]
    present = len(np.unique(their))
    alone = np.full(len(few), 0.0 if present > 1 else math.nan)
    values = silhouette_samples(few, their) if 1 < present < len(few) else alone
    parts = [values[their == label] for label in range(classes)]
    silhouette = [part.mean() if len(part) else math.nan for part in parts]
    table = confusion_matrix(labels, neighbours, labels=range(classes))
    return Separation(labels, neighbours, probe, table, np.array(silhouette))


def recall(labels: np.ndarray, predicted: np.ndarray, classes: int) -> list[float | None]:
    """The share of each class that is predicted correctly; None for a class without points."""
    counts = np.bincount(labels, minlength=classes)
    hits = np.bincount(labels[predicted == labels], minlength=classes)
    return [hit / count if count else None for hit, count in zip(hits.tolist(), counts.tolist(), strict=True)]


def confused_pairs(found: Separation, points: np.ndarray) -> list[dict[str, Any]]:
    """All pairs of classes, those most often taken for each other first.

    Each has `first`, `second`, `images` (confused), `share` (of both classes' images), and the median
    position of the confused images, `z1` and `z2`; None where there are no such images.

    Args:
        points: (N, 2) in the plane, or projected to one.
    """
    sizes = found.confusion.sum(1)
    pairs = []
    for first, second in itertools.combinations(range(len(sizes)), 2):
        swapped = ((found.labels == first) & (found.neighbours == second)) | (
            (found.labels == second) & (found.neighbours == first)
        )
        z1, z2 = np.median(points[swapped], axis=0).tolist() if swapped.any() else (None, None)
        images, both = int(swapped.sum()), int(sizes[first] + sizes[second])
        share = images / both if both else None
        pairs.append({"first": first, "second": second, "images": images, "share": share, "z1": z1, "z2": z2})
    return sorted(pairs, key=lambda pair: (-(pair["share"] or 0), pair["first"], pair["second"]))


def project(train: ArrayLike, test: ArrayLike) -> dict[str, np.ndarray]:
    """Test points (N, D) on the first two principal components of the training points, D > 2.

    Returns:
        `points` (N, 2), and `shares` (2,), of each component in the variance of the training points; 0 and
        NaN if there are fewer than two of these. Rounded to float32, as their last digits depend on LAPACK.
    """
    from sklearn.decomposition import PCA

    points, others = (np.asarray(values, dtype=np.float64) for values in (train, test))
    if len(points) < 2:
        return {"points": np.zeros((len(others), 2), np.float32), "shares": np.full(2, np.nan, np.float32)}
    with np.errstate(invalid="ignore"):  # PCA divides by a variance of zero
        fitted = PCA(2, svd_solver="covariance_eigh").fit(points)
    variance = points.var(axis=0, ddof=1).sum()
    shares = fitted.explained_variance_ / max(variance, 1e-12)
    return {"points": fitted.transform(others).astype(np.float32), "shares": shares.astype(np.float32)}
