"""Figures of bounds and gaps: what is a lower bound says so, and other posteriors than ellipses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Ellipse
from matplotlib.path import Path

from plots import differences, estimates, likelihood, vae


def test_the_best_value_of_a_wide_latent_is_marked_as_a_lower_bound() -> None:
    elbo, found = {"elbo": -90.0, "iwae_10": -88.0}, {"log_likelihood": -85.0}
    plane, wide = (estimates.ladder(elbo, found, exact=exact) for exact in (True, False))
    fig = estimates.bounds({"plane": plane, "wide": wide}, "digits")
    FigureCanvasAgg(fig).draw()
    texts = [text.get_text() for text in fig.axes[0].texts]
    assert sorted(texts[-2:]) == ["−85.00", "≥ −85.00"]
    assert fig.axes[0].get_xticklabels()[-1].get_text() == "log p(x)\nexact or bound"
    fig = estimates.bounds({"wide": wide}, "digits")
    assert fig.axes[0].get_xticklabels()[-1].get_text() == "log p(x)\nbound"


def test_gaps_of_families_stand_below_each_other_and_bounds_say_so() -> None:
    rows = [("encoder", 6.0), ("best diagonal", 2.0), ("best full", 1.0)]
    plane, wide = (
        pd.DataFrame([{"family": name, "images": 20, "gap": gap, "gap_se": 0.1} for name, gap in table])
        for table in ([*rows, ("best flow", 0.5)], rows)
    )
    fig = estimates.families({"plane": plane, "wide": wide}, ["wide"], "digits")
    axes = fig.axes[0]
    labels = [tick.get_text() for tick in axes.get_yticklabels()]
    assert labels == ["encoder's q", "best diagonal q", "best full q", "best flow q"]
    texts = [text.get_text() for text in axes.texts]
    assert texts[:2] == ["6.00 ± 0.10", "≥ 6.00 ± 0.10"]
    assert texts[-1] == "0.50 ± 0.10"
    patches: list[Any] = list(axes.patches)
    bars = [bar.get_width() for bar in patches]
    assert bars == [6.0, 6.0, 2.0, 2.0, 1.0, 1.0, 0.5]


def test_of_one_image_figures_show_numbers_without_errors() -> None:
    table = pd.DataFrame([{"family": "encoder", "images": 1, "gap": 6.0, "gap_se": np.nan}])
    curve = pd.DataFrame({"estimator": "IWAE", "k": [1, 10], "bound": [-3.0, -2.0], "bound_se": np.nan})
    gain = {
        f"{name}{ending}": value for name in differences.GAINS for ending, value in (("", 1.0), ("_se", None))
    }
    rows = {
        name: [3.0, np.nan] for name in ("approximation_of_better_start", "approximation", "amortization")
    }
    by_class = pd.DataFrame(
        {"split": "test", "class": ["a", "b"], "gap_images": [1, 0], "inference_se": np.nan, **rows}
    )
    figures = (
        estimates.families({"a": table}, [], "digits"),
        estimates.estimators({"a": curve.assign(images=1, trusted=None, pareto_k=None)}, "digits"),
        differences.gains({"b": gain | {"base": "a", "images": 1}}, "digits"),
        likelihood.decomposition({"a": by_class}, "digits"),
        vae.units([0.1, 2.0], [None, None], "a", "digits"),
    )
    texts = []
    for fig in figures:
        FigureCanvasAgg(fig).draw()
        texts.append([text.get_text() for axes in fig.axes for text in axes.texts])
        assert "nan" not in str([axes.get_title() for axes in fig.axes] + texts[-1])
    assert texts[0] == ["6.00"]
    assert texts[2] == ["+1.00"] * 3
    assert figures[3].axes[0].get_title() == "a, test: means 3.00 + 0.00 + 3.00"


@pytest.mark.parametrize("trusted", [[None, None, 0.02], [None, 1.0, 0.89]])
def test_an_estimate_with_a_heavy_tail_has_an_open_marker(trusted: list[object]) -> None:
    curve = pd.DataFrame(
        {"estimator": "IWAE", "k": [1, 10, 100], "bound": [-3.0, -2.0, -1.0], "trusted": trusted}
    )
    other = pd.DataFrame({"estimator": ["annealed"], "k": [16], "bound": [-0.5], "trusted": [None]})
    table = pd.concat([curve, other]).assign(images=50, bound_se=0.1, pareto_k=0.5)
    fig = estimates.estimators({"wide": table}, "digits")
    open_places = [
        np.asarray(line.get_xdata()).tolist()
        for line in fig.axes[0].lines
        if line.get_markerfacecolor() == "white" and len(np.asarray(line.get_xdata()))
    ]
    assert open_places == [[100]]
    assert [tick.get_text() for tick in fig.axes[0].get_xticklabels()] == ["1", "10", "100"]


def test_a_posterior_that_is_no_diagonal_gaussian_is_drawn_by_the_contour_of_its_density() -> None:
    line = np.linspace(-3, 3, 61)
    x, y = np.meshgrid(line, line)
    covariance = np.array([[0.5, 0.4], [0.4, 0.5]])
    places = np.stack([x, y], -1)
    log_q = -0.5 * np.einsum("...i,ij,...j", places, np.linalg.inv(covariance), places)
    image = {
        "z1": line, "z2": line, "log_joint": log_q, "log_q": np.stack([log_q, log_q]),
        "loc": np.zeros((2, 2)), "scale": np.full((2, 2), 0.7), "elbo": np.array([-2.0, -1.5]),
        "picture": np.zeros((5, 64)), "log_likelihood": -1.0,
    }  # fmt: skip
    plain = {key: value for key, value in image.items() if key != "log_q"}
    which = ("best", "median", "worst")
    rows = {"full": dict.fromkeys(which, image), "diagonal": dict.fromkeys(which, plain)}
    fig = likelihood.posteriors(rows, "digits")
    full, diagonal = fig.axes[0], fig.axes[3]
    assert not any(isinstance(patch, Ellipse) for patch in full.patches)
    assert sum(isinstance(patch, Ellipse) for patch in diagonal.patches) == 2
    contour = full.collections[1].get_paths()[0]
    samples = np.random.default_rng(0).multivariate_normal(np.zeros(2), covariance, 20_000)
    inside = Path(contour.vertices).contains_points(samples).mean()
    assert inside == pytest.approx(1 - np.exp(-2), abs=0.01)
    assert "86 % inside" in str(fig.legends[0].get_texts()[1].get_text())
