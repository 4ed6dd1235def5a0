"""Figures: label positions, titles, and values that must not be left out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.patches import Polygon

from plots import classifier, likelihood, style


def test_class_labels_lie_on_a_cluster_and_do_not_overlap() -> None:
    rng = np.random.default_rng(0)
    centres = {0: [(-3.0, 0.0), (3.0, 0.0)], 1: [(0.0, 0.1)], 2: [(0.0, -0.1)], 3: [(0.0, 0.0)]}
    points = [
        (label, rng.normal(centre, 0.3, (100, 2))) for label, many in centres.items() for centre in many
    ]
    labels = np.concatenate([np.full(len(cloud), label) for label, cloud in points])
    places = style.spread(style.densest(np.concatenate([cloud for _, cloud in points]), labels), 0.5)
    assert min(np.hypot(places[0][0] - x, places[0][1]) for x in (-3, 3)) < 0.3
    for first in places:
        for second in places:
            if first != second:
                assert np.hypot(*np.subtract(places[first], places[second])) > 0.499
    assert all(np.hypot(*places[label]) < 1 for label in (1, 2, 3)), "moved further than needed"


def test_a_users_matplotlibrc_changes_no_figure(tmp_path: Path) -> None:
    code = (
        "import hashlib, io, numpy as np; from plots import quadratic, style; "
        "fig, axes = style.subplots(3, 2); "
        "axes.plot([1, 2]); out = io.BytesIO(); fig.savefig(out, metadata={'Software': None}); "
        "print(hashlib.md5(out.getvalue()).hexdigest())"
    )
    here = Path(__file__).parents[2]
    (tmp_path / "matplotlibrc").write_text("lines.marker: o\naxes.facecolor: red\nxtick.direction: in\n")
    sums = {
        subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(here)!r}); {code}"],
            cwd=folder, capture_output=True, text=True, check=True,
        ).stdout
        for folder in (tmp_path, here)
    }  # fmt: skip
    assert len(sums) == 1


def test_the_confusion_matrix_title_names_the_predictor() -> None:
    counts = np.diag([3, 2, 1])
    fig = classifier.confusion(counts, list("abc"), "15 nearest neighbours in the plane of tuned", "digits")
    (axes,) = fig.axes
    assert axes.get_title() == "Confusion matrix, 100.00% right:\n15 nearest neighbours in the plane of tuned"


def test_the_gap_histogram_includes_values_at_or_below_zero() -> None:
    rng = np.random.default_rng(0)
    gaps = np.concatenate([[-0.2, 0.0], np.exp(rng.normal(0, 2, 998))])
    fig = likelihood.gap_distribution({"test": gaps, "train": gaps[:500]}, "Gaps", "digits")
    density, carried = fig.axes
    assert density.get_xscale() == "log"
    for patch in density.patches:
        assert isinstance(patch, Polygon)
        corners = patch.get_xy()  # of the steps of a histogram, twice each
        assert corners[:, 1].reshape(-1, 2)[:, 0].sum() == pytest.approx(1, abs=1e-9), "no image is left out"
    worst = np.sort(gaps)[::-1][:50].sum() / gaps.sum()
    legend = carried.get_legend()
    assert legend is not None
    assert legend.get_texts()[0].get_text() == f"test: worst 5% carry {worst:.0%}"
