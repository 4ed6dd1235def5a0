"""Stages after training: data without labels, with few images, with wide latents. Each is called as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from elbo.models.classifier import Classifier
from stages import analyse_latents, critique, evaluate_elbo, render_vae, train_classifier
from tests.support.models import small_vae
from workflow.core import dataset
from workflow.core.dataset import Dataset
from workflow.core.weights import read_weights, write_weights

SHAPE = (5, 7)
SETTINGS = {
    "compute": SimpleNamespace(threads=torch.get_num_threads()),
    "critique": SimpleNamespace(seed=1, samples=10, sure=0.9, compared=5000, neighbours=9),
    "evaluate_elbo": SimpleNamespace(seed=1, images=100, samples=4, iwae=[1, 2]),
    "figures": SimpleNamespace(seed=1, grid=2, rows=2, steps=3),
    "interpolation": SimpleNamespace(seed=1, pairs=5, sure=0.9),
    "latents": SimpleNamespace(neighbours=15, silhouette_images=100),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory, and settings for the stages."""
    monkeypatch.chdir(tmp_path)
    for stage in (analyse_latents, critique, evaluate_elbo, render_vae, train_classifier):
        monkeypatch.setattr(stage, "load", lambda _, *keys: [SETTINGS.get(key) for key in keys])
    yield tmp_path
    assert not list(tmp_path.rglob("*.partial"))


def write_data(counts: dict[str, int], classes: tuple[str, ...] = (), latent: int = 2) -> Dataset:
    """Random images, labelled if there are classes, all of which the training images have; and a VAE."""
    rng = np.random.default_rng(0)
    features = {split: np.packbits(rng.random((count, 35)) < 0.4, axis=1) for split, count in counts.items()}
    labels = {
        split: (np.arange(count) % (len(classes) if split == "train" else 2)).astype(np.uint8)
        for split, count in counts.items()
        if classes
    }
    data = Dataset("own", "", classes, SHAPE, features, labels)
    data.save("data/binarized.npz")
    vae = small_vae(SHAPE, [6], torch.Generator().manual_seed(0), latent=latent)
    write_weights("models/vae/a.safetensors", vae.state_dict(), vae.about)
    if classes:
        judge = Classifier(35, [4], len(classes), "relu", torch.Generator().manual_seed(0))
        write_weights("models/classifier/images.safetensors", judge.state_dict(), {"activation": "relu"})
    return data


def run(*stages: ModuleType) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """The JSON files and the tables of stages for the variant a."""
    for stage in stages:
        stage.main("a")
    report = Path("reports/vae/a")
    metrics = {path.stem: json.loads(path.read_text()) for path in report.glob("*.json")}
    return metrics, {path.stem: pd.read_csv(path) for path in report.glob("*.csv")}


EVALUATIONS = (evaluate_elbo, critique, analyse_latents)


def test_data_without_labels_have_what_needs_no_judge_and_tables_with_headers_alone() -> None:
    write_data({"train": 40, "test": 12})
    metrics, tables = run(*EVALUATIONS)
    assert metrics["elbo"]["test"]["images"] == 12
    for name in ("critique", "latents", "interpolations"):
        assert metrics[name]["labels"] is False
    assert metrics["critique"].keys() - {"dataset", "dataset_digest"} == {
        "labels", "samples", "pixel_entropy", "pixel_entropy_of_reconstructions",
    }  # fmt: skip
    assert metrics["interpolations"]["random"].keys() == {"lines", "detour", "largest_step"}
    labelled = write_data({"train": 40, "test": 12}, ("a", "b"))
    for name, table in tables.items():
        assert table.empty, name
    of_labels = run(*EVALUATIONS)[1]
    assert of_labels.keys() == tables.keys()
    for name, table in of_labels.items():
        own = {"class", *labelled.classes} if name == "latents_confusion" else set(table.columns)
        assert set(tables[name].columns) == own - set(labelled.classes), name
        assert not table.empty, name


def test_the_classifier_of_data_without_labels_has_no_weights_and_says_why() -> None:
    write_data({"train": 40, "test": 12})
    train_classifier.main("images")
    for name in ("images", "images_untrained"):
        tensors, about = read_weights(f"models/classifier/{name}.safetensors")
        assert not tensors
        assert about["untrained"] == "the data have no labels"
    metrics = json.loads(Path("reports/classifier/images/metrics.json").read_text())
    assert metrics["labels"] is False
    assert metrics["dataset"] == "own"
    for name in ("training", "predictions"):
        assert pd.read_csv(f"reports/classifier/images/{name}.csv").empty


@pytest.mark.parametrize("latent", [2, 5])
@pytest.mark.parametrize(
    ("counts", "classes"),
    [
        ({"train": 40, "test": 12}, ("circle", "Ankle boot and sandal")),
        ({"train": 47, "test": 12}, tuple(f"class {place}" for place in range(47))),  # an image each
        ({"train": 4, "test": 2}, ("a", "b", "c")),  # c has no test image; every image alone in its class
        ({"train": 3, "test": 1}, ("a", "b")),
    ],
)  # fmt: skip
def test_few_images_and_few_or_many_classes_give_numbers(
    counts: dict[str, int], classes: tuple[str, ...], latent: int
) -> None:
    write_data(counts, classes, latent)
    metrics, tables = run(*EVALUATIONS)  # a number that JSON does not know would be an error
    assert len(tables["latents_by_class"]) == len(tables["critique_by_class"]) == len(classes)
    assert set(tables["elbo_by_class"]["class"]) <= set(classes)
    # what is not known of no or of one image is missing, and all else is there
    several = counts["test"] > 1
    assert (tables["elbo_by_class"]["elbo_se"].isna() == (tables["elbo_by_class"]["images"] < 2)).all()
    assert (
        tables["latents_by_class"]["probe_recall"].isna() == (tables["latents_by_class"]["images"] < 1)
    ).all()
    assert (tables["latents_pairs"]["z1"].isna() == (tables["latents_pairs"]["images"] < 1)).all()
    unknown = tables["critique_by_class"]["unsure"].isna()
    assert (unknown == (tables["critique_by_class"]["share"] == 0)).all()
    assert (metrics["elbo"]["test"]["elbo_se"] is not None) == several
    assert (metrics["model"]["active_units"] is not None) == several
    assert (metrics["latents"]["silhouette"] is not None) == several
    assert set(metrics["critique"]["features"]) == {"samples", "reconstructions", "train"}
    for distances in metrics["critique"]["features"].values():
        assert (distances["frechet_distance"] is not None) == (distances["recall"] is not None) == several
    Path("reports/figures").mkdir()
    render_vae.main("a")


def test_wide_latents_have_a_projection_and_a_plot_of_their_dimensions_instead_of_a_plane() -> None:
    data = write_data({"train": 40, "test": 12}, ("a", "b"), latent=5)
    run(*EVALUATIONS)
    with np.load("data/lines/a.npz") as arrays:
        assert arrays["points"].shape == (12, 2)
        assert 0 < arrays["shares"][1] <= arrays["shares"][0] < 1
    pairs = pd.read_csv("reports/vae/a/latents_pairs.csv")
    assert np.isfinite(pairs[["z1", "z2"]].to_numpy()).all()
    Path("reports/vae/a/model.json").write_text(
        json.dumps({"variance_of_means": [0.5] * 5, "test": {"kl_by_dimension": [0.5] * 5}})
    )
    render_vae.main("a")
    figures = Path("reports/figures/vae/a")
    assert {path.stem for path in figures.iterdir()} == {"projection", "units", "samples", "lines"}
    Path("reports/vae/a/model.json").write_text(json.dumps({"test": {"kl_by_dimension": None}}))  # a flow
    render_vae.main("a")
    assert {path.stem for path in figures.iterdir()} == {"projection", "samples", "lines"}
    assert dataset.load("data/binarized.npz").digest == data.digest


def test_figures_of_data_without_labels_are_drawn_without_verdicts() -> None:
    write_data({"train": 40, "test": 12})
    run(critique, analyse_latents)
    render_vae.main("a")
    assert {path.stem for path in Path("reports/figures/vae/a").iterdir()} == {"plane", "samples", "lines"}
