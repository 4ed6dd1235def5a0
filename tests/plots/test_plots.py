"""Figures: label positions, titles, and values that must not be left out."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Polygon
from PIL import Image

from pages.figures import write_figures
from pages.names import dataset_title
from plots import classifier, critique, differences, estimates, likelihood, style, vae


def test_class_labels_lie_on_a_cluster_and_do_not_overlap() -> None:
    rng = np.random.default_rng(0)
    centres = {0: [(-3.0, 0.0), (3.0, 0.0)], 1: [(0.0, 0.1)], 2: [(0.0, -0.1)], 3: [(0.0, 0.0)]}
    points = [
        (label, rng.normal(centre, 0.3, (100, 2))) for label, many in centres.items() for centre in many
    ]
    labels = np.concatenate([np.full(len(cloud), label) for label, cloud in points])
    centres_of_text = style.densest(np.concatenate([cloud for _, cloud in points]), labels)
    places = style.spread(centres_of_text, dict.fromkeys(centres_of_text, (0.5, 0.3)))
    assert min(np.hypot(places[0][0] - x, places[0][1]) for x in (-3, 3)) < 0.3
    for first in places:
        for second in places:
            if first != second:
                apart = np.abs(np.subtract(places[first], places[second]))
                assert apart[0] > 0.499 or apart[1] > 0.299
    assert all(np.hypot(*places[label]) < 1 for label in (1, 2, 3)), "moved further than needed"


def test_a_users_matplotlibrc_changes_no_figure(tmp_path: Path) -> None:
    code = (
        "import hashlib, io, numpy as np; from plots import style; "
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


def test_the_confusion_matrix_says_how_many_images_are_classified_correctly() -> None:
    fig = classifier.confusion({"tuned": np.diag([3, 2, 1]), "notebook": np.eye(3)}, list("abc"), "digits")
    assert [axes.get_title() for axes in fig.axes] == [
        "tuned: 100.00 % correct",
        "notebook: 100.00 % correct",
    ]


def test_the_gap_histogram_includes_values_at_or_below_zero() -> None:
    rng = np.random.default_rng(0)
    gaps = np.concatenate([[-0.2, 0.0], np.exp(rng.normal(0, 2, 998))])
    fig = likelihood.gap_distribution({"test": {"a": gaps, "b": gaps[:500]}}, "digits")
    density, carried = fig.axes
    assert density.get_xscale() == "log"
    for patch in density.patches:
        assert isinstance(patch, Polygon)
        corners = patch.get_xy()  # of the steps of a histogram, twice each
        assert corners[:, 1].reshape(-1, 2)[:, 0].sum() == pytest.approx(1, abs=1e-9), "no image is left out"
    worst = np.sort(gaps)[::-1][:100].sum() / gaps.sum()
    legend = carried.get_legend()
    assert legend is not None
    assert legend.get_texts()[0].get_text() == f"worst 10 % carry {100 * worst:.0f} %"


def test_contours_are_interpolated_exactly_where_a_posterior_is_gaussian() -> None:
    coarse = np.linspace(-2, 2, 9)

    def log_density(line: np.ndarray) -> np.ndarray:
        x, y = np.meshgrid(line, line)
        return -(x**2) - 2 * (y - 0.3) ** 2

    inside = slice(2 * likelihood.FINER, -2 * likelihood.FINER)
    half = (coarse[1] - coarse[0]) / 2  # of a cell, and of a finer one
    edge = 2 + half - half / likelihood.FINER
    fine = np.linspace(-edge, edge, len(coarse) * likelihood.FINER)
    assert np.allclose(
        likelihood.smooth(log_density(coarse))[inside, inside], log_density(fine)[inside, inside]
    )


def test_values_of_models_that_nearly_agree_stay_readable() -> None:
    ladders = {name: {"ELBO": -100 - place / 100, "exact": -90.0} for place, name in enumerate("abcd")}
    fig = estimates.bounds(ladders, "digits")
    FigureCanvasAgg(fig).draw()
    boxes = [text.get_window_extent() for text in fig.axes[0].texts]
    assert len(boxes) == 8
    assert not any(first.overlaps(second) for first, second in itertools.combinations(boxes, 2))


def test_a_setting_of_the_search_is_named_by_what_differs() -> None:
    rows = [
        ("tuned", "gelu", 0.1, 0.002, "cosine", 0.02, 305, -133.0, 0.5),
        ("tuned_306", "gelu", 0.1, 0.002, "cosine", 0.02, 306, -133.5, 0.5),
        ("slow", "gelu", 0.1, 0.001, "cosine", 0.02, 305, -134.0, 0.5),
        ("plain", "gelu", 0.0, 0.002, "constant", 0.02, 305, -132.0, 0.5),
    ]
    names = "name activation input_dropout lr schedule warmup seed validation_elbo validation_elbo_se"
    fig = differences.search(pd.DataFrame(rows, columns=names.split()), "held-out images")
    labels = [tick.get_text() for tick in fig.axes[0].get_yticklabels()]
    assert labels[0] == "no input dropout, constant lr"
    assert labels[1].startswith("tuned: gelu")
    assert labels[2] == "lr 0.001"


@pytest.mark.parametrize("columns", [2, 4, 8])
@pytest.mark.parametrize("data", ["MNIST", "Fashion-MNIST", "UCI digits, a stand-in for Fashion-MNIST"])
def test_no_text_of_decoded_images_is_cut(columns: int, data: str) -> None:
    images = np.zeros((2 * columns, 64))
    table = pd.DataFrame({"verdict": "Ankle boot", "confidence": 0.5, "sure": [True, False] * columns})
    title = f"a_long_name_of_a_variant: {2 * columns} decoded samples of the prior"
    for fig in (
        vae.verdicts(images, table, (8, 8), columns, title, data),
        vae.reconstructions(
            images[:columns], {"a_long_name": images[:columns]}, ["Ankle boot"] * columns, (8, 8), data
        ),
    ):
        FigureCanvasAgg(fig).draw()
        for text in fig.axes[0].texts:
            box = text.get_window_extent()
            assert box.x0 >= 0, text.get_text()
            assert box.x1 <= fig.bbox.x1, text.get_text()


def test_the_last_value_of_a_short_training_lies_inside_the_axes() -> None:
    table = pd.DataFrame({"epoch": range(1, 21), "train_elbo": -140.0, "test_elbo": -141.0})
    short = pd.DataFrame({"epoch": [1], "train_elbo": [-310.0], "test_elbo": [-300.0]})
    fig = vae.elbo_curves({"short": short, "long": table}, None, "digits")
    FigureCanvasAgg(fig).draw()
    for axes in fig.axes:
        frame = axes.get_window_extent()
        for text in axes.texts:
            box = text.get_window_extent()
            assert frame.y0 - 1 <= (box.y0 + box.y1) / 2 <= frame.y1 + 1, text.get_text()


def test_every_region_of_the_plane_has_its_class_name_inside() -> None:
    labels = np.zeros((60, 60), dtype=int)
    labels[:, 40:] = 1
    labels[20:35, 5:25] = 2
    fig = critique.regions({"tuned": (labels, np.ones((60, 60)))}, ["a", "b", "c"], 3.0, 0.9, "digits")
    for text in fig.axes[0].texts:
        column, row = (round((value + 3) / 6 * 59) for value in text.get_position())
        assert "abc"[labels[row, column]] == text.get_text()
    assert sorted(text.get_text() for text in fig.axes[0].texts) == ["a", "b", "c"]


def test_a_file_keeps_the_commonest_colours_and_drops_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "old.png").write_bytes(b"")
    fig, axes = style.subplots(3, 2)
    axes.axhspan(0, 1, color="#CC6677")
    axes.axhspan(1, 2, color="#AA4499")
    write_figures(tmp_path, {"new": fig})
    assert [path.name for path in tmp_path.iterdir()] == ["new.png"]
    with Image.open(tmp_path / "new.png") as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors() or []}
    assert {(255, 255, 255), (0xCC, 0x66, 0x77), (0xAA, 0x44, 0x99)} <= colours
    assert len(colours) <= 36


def test_datasets_have_the_names_that_people_use() -> None:
    assert dataset_title("mnist") == "MNIST"
    assert dataset_title("uci-digits", "mnist") == "UCI digits, a stand-in for MNIST"
    assert dataset_title("mine") == "mine"
    assert dataset_title("own-faces.static") == "own images (faces), pixels sampled once"
