"""Figures of pictures of any shape, without labels, with few and many classes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from plots import classifier, pictures, style, vae

SHAPES = [(8, 8), (20, 32), (5, 64), (64, 5), (64, 64)]
PAIRS = pd.DataFrame({key: [] for key in ("first", "second", "images", "share", "z1", "z2")})
LONG = ["Ankle boot and sandal", "T-shirt without sleeves", "circle"]


@pytest.mark.parametrize("shape", SHAPES)
def test_pictures_keep_their_aspect_and_are_large_enough_to_see(shape: tuple[int, int]) -> None:
    image = np.zeros((1, shape[0] * shape[1]))
    image[0, -1] = 1  # the lowest right pixel
    enlarged = pictures.enlarged(image, shape, vae.TILE)[0]
    times = enlarged.shape[0] // shape[0]
    assert enlarged.shape == (shape[0] * times, shape[1] * times)
    assert enlarged[-times:, -times:].all()
    assert enlarged.sum() == times**2
    assert max(enlarged.shape) <= 2.5 * vae.TILE
    assert min(enlarged.shape) >= 10


@pytest.mark.parametrize("shape", SHAPES)
def test_texts_of_decoded_images_are_not_cut_and_do_not_overlap(shape: tuple[int, int]) -> None:
    images = np.zeros((24, shape[0] * shape[1]))
    table = pd.DataFrame({"verdict": LONG[0], "confidence": 0.51, "sure": [True, False] * 12})
    for fig in (
        vae.verdicts(images, table, shape, 8, "tuned: 24 decoded samples", "shapes"),
        vae.reconstructions(images[:6], {"tuned": images[:6]}, LONG * 2, shape, "shapes"),
    ):
        FigureCanvasAgg(fig).draw()
        boxes = [text.get_window_extent() for text in fig.axes[0].texts if text.get_text()]
        assert all(box.x0 >= 0 and box.x1 <= fig.bbox.x1 and box.y0 >= 0 for box in boxes)
        assert not any(first.overlaps(second) for first, second in itertools.combinations(boxes, 2))


@pytest.mark.parametrize("shape", SHAPES)
def test_decoded_images_fill_the_plane(shape: tuple[int, int]) -> None:
    rows, columns = vae.grid_size(shape)
    decoded = np.ones((rows * columns, shape[0] * shape[1]))
    fig = vae.plane(np.zeros((3, 2)), None, (), PAIRS, decoded, shape, 3.0, "tuned", "shapes")
    ink = np.asarray(fig.axes[1].images[0].get_array())
    assert ink.shape[0] == ink.shape[1]
    assert ink.mean() > (0.9 if max(shape) < 4 * min(shape) else 0.3)
    assert ink[: len(ink) // rows].any()
    assert ink[-len(ink) // rows :].any()


@pytest.mark.parametrize("labelled", [True, False])
def test_points_are_coloured_by_class_only_if_there_are_labels(labelled: bool) -> None:
    points, labels = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 3
    classes: tuple[Any, Any] = (labels, LONG) if labelled else (None, ())
    share = np.array([0.5, 0.25])
    decoded = np.zeros((100, 64))
    for fig in (
        vae.plane(points, *classes, PAIRS, decoded, (8, 8), 3.0, "tuned", "shapes"),
        vae.projection(points, share, *classes, PAIRS, "tuned", "shapes"),
    ):
        colours = {to_hex(colour) for colour in fig.axes[0].collections[0].get_facecolor()}
        assert len(colours) == (3 if labelled else 1)
        texts = {text.get_text() for text in fig.axes[0].texts}
        assert texts == ({style.short(name) for name in LONG} if labelled else set())
    assert "50 % of the variance" in fig.axes[0].get_xlabel()


def test_dimensions_are_sorted_by_their_divergence_and_the_active_ones_counted() -> None:
    fig = vae.units([0.1, 2.0, 0.0, 1.0], [False, True, False, True], "wide", "digits")
    FigureCanvasAgg(fig).draw()
    axes = fig.axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["2", "4", "1", "3"]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["active: 2", "not active: 2"]
    assert axes.get_title() == "wide: 3.10 nats in all"


def test_the_ticks_of_many_classes_do_not_overlap() -> None:
    names = [f"class {place}" for place in range(47)]
    fig = classifier.confusion({"a": np.eye(47), "b": np.eye(47)}, names, "letters")
    FigureCanvasAgg(fig).draw()
    for axes in fig.axes:
        assert not axes.texts, "counts would be too small to read"
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            boxes = [label.get_window_extent() for label in labels]
            assert not any(first.overlaps(second) for first, second in itertools.pairwise(boxes))
