"""Own pictures from a folder to the report: squares or not, with names of classes, and without labels."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from pages.filters import escape
from tests.conftest import NO_TRACKING, commit, copy_smallest
from tests.support.pictures import SHAPES, write_digits, write_shapes
from workflow.core import dataset
from workflow.core.params import set_params

DIGITS = tuple(map(str, range(10)))
ODD = (
    "1. *a* & `b` [c](javascript:alert(1))",
    "a<img src=x onerror=alert(1)>|b",
    "x ⟦elbo⟧ _~#",
    "日本 = '\"",
)


def write_shapes_with_odd_names(folder: Path) -> None:
    write_shapes(folder, 125)
    for split in ("train", "test"):
        for name, odd in zip(SHAPES, ODD, strict=True):
            (folder / split / name).rename(folder / split / odd)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "shape", "classes", "counts"),
    [
        pytest.param(write_digits, (8, 8), DIGITS, (1437, 360), id="digits"),
        pytest.param(write_shapes_with_odd_names, (20, 32), ODD, (400, 100), id="shapes, one scored"),
        pytest.param(partial(write_digits, classes=False), (8, 8), (), (1437, 360), id="no_labels"),
    ],
)
def test_a_folder_of_pictures_runs_to_the_report(
    write: Callable[[Path], None],
    shape: tuple[int, int],
    classes: tuple[str, ...],
    counts: tuple[int, int],
    tmp_path: Path,
) -> None:
    project = copy_smallest(tmp_path / "project")
    write(project.path / "data/own")
    project.edit("dataset: uci-digits", "dataset: own")
    alone = classes == ODD  # of one image there is no standard error
    for name in ("evaluate_elbo.images", "evaluate_likelihood.gap_images") if alone else ():
        set_params(project.path / "params.yaml", f"{name}=1")
    project.repro(MLFLOW_TRACKING_URI=NO_TRACKING)
    commit(project)
    assert "up to date" in project.run("python", "-m", "workflow.reproduce.check")
    data = dataset.load(project.path / "data/binarized.npz")
    assert (data.shape, data.classes, data.labelled) == (shape, classes, bool(classes))
    assert tuple(len(data.features[split]) for split in ("train", "test")) == counts
    reports = project.path / "reports"
    for path in (reports / "vae/notebook").glob("*.json"):
        assert json.loads(path.read_text())["dataset"] == data.name, path
    text = (reports / "README.md").read_text()
    assert data.name in text
    assert ("### The judge" in text) == bool(classes)
    assert all(escape(name) in text for name in classes)
    assert not re.search(r"\bnan\b|Undefined|None\b(?! of)", text)
    assert bool(re.search(r"\d ± \d", text.partition("#### ")[0])) != alone
    figures = list(reports.rglob("*.png"))
    assert len(figures) > 8
    for path in figures:
        with Image.open(path) as image:
            assert image.getcolors() is None or len(image.getcolors() or []) > 1, path
    printed = project.run("python", "-m", "pages.summary")
    assert ("no labels" in printed) == (not classes)
    # a changed picture is another dataset
    picture = min((project.path / "data/own/test").rglob("*.png"))
    Image.new("L", shape[::-1], 255).save(picture)
    assert "binarize" in project.repro("binarize")
