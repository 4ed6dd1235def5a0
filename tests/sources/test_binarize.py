"""Pixels become 0 or 1: above a threshold, or sampled from named streams."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from sources import idx, own
from stages import binarize, check_params, download
from tests.support.repository import ROOT
from workflow.core import dataset
from workflow.core.dataset import Dataset
from workflow.core.errors import UserError
from workflow.core.files import read_json
from workflow.core.params import set_params

SHAPE = (6, 5)  # height, width
COUNTS = {"train": 5000, "test": 300}
# md5 sums of the four files and of the npz, before there were own images and sampled pixels
RAW, BINARIZED = "f1382833647e06977c05f6bd695dd138", "f07d523d5d7fe43c3a765dda0ea2a44f"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the project's params.yaml, own images of two classes, and the working directory."""
    generator = np.random.default_rng(0)
    images = {split: generator.integers(0, 256, (count, *SHAPE)) for split, count in COUNTS.items()}
    np.savez(
        tmp_path / "faces.npz",
        allow_pickle=False,
        **{f"{split}_images": pixels.astype(np.uint8) for split, pixels in images.items()},
        **{f"{split}_labels": np.arange(count) % 2 for split, count in COUNTS.items()},
    )
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    set_params(Path("params.yaml"), "data.dataset=own", "data.path=faces.npz", "data.classes=[even, odd]")
    return tmp_path


def made(*settings: str) -> Dataset:
    """What the stages download and binarize make of the settings."""
    set_params(Path("params.yaml"), *settings)
    download.main()
    binarize.main()
    return dataset.load("data/binarized.npz")


def bits(data: Dataset, split: str) -> np.ndarray:
    return np.unpackbits(data.features[split], axis=1, count=data.width)


def test_own_images_pass_through_the_stages(place: Path) -> None:
    data = made()
    assert (data.name, data.shape, data.classes, data.fallback_for) == (
        "own-faces",
        SHAPE,
        ("even", "odd"),
        "",
    )
    levels = own.read(place / "faces.npz", None).images
    for split, count in COUNTS.items():
        assert (bits(data, split) == (levels[split] >= 128).reshape(count, -1)).all()
        assert (data.labels[split] == np.arange(count) % 2).all()
    assert data.identity == {"dataset": "own-faces", "dataset_digest": data.digest}
    assert sorted(path.name for path in Path("data/raw").iterdir()) == ["dataset.json", "own-faces"]
    # another file takes its place, without labels
    np.savez("bare.npz", train_images=levels["train"], test_images=levels["test"])
    bare = made("data.path=bare.npz", "data.classes=null")
    assert (bare.name, bare.labelled, bare.classes) == ("own-bare", False, ())
    assert bare.digest != data.digest
    assert sorted(path.name for path in Path("data/raw").iterdir()) == ["dataset.json", "own-bare"]
    assert len(list(Path("data/raw/own-bare").iterdir())) == 2


def test_a_class_that_a_source_gives_an_impossible_name_is_refused(place: Path) -> None:
    made()
    path = place / "data/raw/dataset.json"
    path.write_text(path.read_text().replace("even", "<b>"))
    with pytest.raises(UserError, match=r"data/raw/dataset\.json: class '<b>' does not begin with a letter"):
        binarize.main()


def test_a_fault_leaves_the_earlier_files(place: Path) -> None:
    before = made()
    (place / "faces.npz").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"faces\.npz cannot be read"):
        download.main()
    binarize.main()
    assert dataset.load("data/binarized.npz").digest == before.digest
    assert read_json("data/raw/dataset.json")["classes"] == ["even", "odd"]


def test_a_path_that_does_not_exist_is_found_before_any_stage_runs(place: Path) -> None:
    check_params.main()
    (place / "faces.npz").unlink()
    with pytest.raises(UserError, match=r"data\.path: faces\.npz does not exist; put your images there"):
        check_params.main()


def test_sampled_pixels_are_one_as_often_as_their_intensity_says(place: Path) -> None:
    data = made("data.binarization=static")
    assert (data.name, data.intensities) == ("own-faces.static", {})
    chances = own.read(place / "faces.npz", None).images["train"].reshape(5000, -1) / 255
    excess = bits(data, "train") - chances
    error = np.sqrt((chances * (1 - chances)).sum())
    assert abs(excess.sum()) < 4 * error
    for low in np.arange(0, 1, 0.1):  # also among pixels of like intensity
        like = (chances >= low) & (chances < low + 0.1)
        assert abs(excess[like].sum()) < 5 * np.sqrt((chances * (1 - chances))[like].sum())
    assert not bits(data, "train")[chances == 0].any()
    assert bits(data, "train")[chances == 1].all()


@pytest.mark.usefixtures("place")
def test_sampling_is_fixed_by_its_seed_and_split() -> None:
    data = made("data.binarization=static", "data.validation=1000")
    assert made().digest == data.digest
    assert (bits(data, "train") != bits(made("data.seed=1"), "train")).any()
    assert (
        made("data.seed=305", "data.validation=0").features["train"][:4000] == data.features["train"]
    ).all()
    levels = np.full((300, 30), 128, np.uint8)
    assert (binarize.sampled(levels, 305, "train") != binarize.sampled(levels, 305, "test")).any()


def test_dynamic_data_are_the_static_ones_with_the_intensities_of_train(place: Path) -> None:
    static = made("data.binarization=static", "data.validation=1000")
    data = made("data.binarization=dynamic")
    assert data.name == "own-faces.dynamic"
    for split in ("train", "validation", "test"):
        assert (data.features[split] == static.features[split]).all()
    assert list(data.intensities) == ["train"]
    levels = own.read(place / "faces.npz", None).images["train"]
    assert (data.intensities["train"] == levels[:4000].reshape(4000, -1)).all()


def test_held_out_images_may_not_take_a_whole_class(place: Path) -> None:
    with np.load(place / "faces.npz") as file:
        arrays = dict(file) | {"train_labels": np.arange(5000) // 4000}
    np.savez("faces.npz", allow_pickle=False, **arrays)
    made("data.validation=999")
    with pytest.raises(UserError, match=r"data\.validation holds out all training images of class 'odd'"):
        made("data.validation=1000")
    with pytest.raises(UserError, match=r"data\.validation is 5000 of 5000 training images"):
        made("data.validation=5000")


@pytest.mark.usefixtures("place")
def test_uci_digits_at_a_threshold_keep_their_bytes() -> None:
    made("data.dataset=uci-digits", "data.path=data/own", "data.classes=null")
    assert read_json("data/raw/dataset.json") == {"dataset": "uci-digits", "requested": "uci-digits"}
    files = [Path("data/raw/uci-digits", name) for split in COUNTS for name in idx.names(split)]
    content = b"".join(file.read_bytes() for file in files)
    assert hashlib.md5(content).hexdigest() == RAW
    assert hashlib.md5(Path("data/binarized.npz").read_bytes()).hexdigest() == BINARIZED
