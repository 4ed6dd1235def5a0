"""From published files to packed bits."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from sources import uci_digits
from sources.idx import find, names, read_split
from sources.mnist import classes, files, torchvision_mnist
from stages.binarize import hold_out
from tests.conftest import Project
from workflow.core import dataset
from workflow.core.arrays import read_npz, write_npz
from workflow.core.dataset import Dataset
from workflow.core.errors import UserError


def example(**changes: object) -> Dataset:
    generator = np.random.default_rng(0)
    values: dict[str, object] = {
        "name": "test", "fallback_for": "", "classes": ("a", "b"), "shape": (13,),
        "features": {"train": generator.integers(0, 256, (5, 2), dtype=np.uint8)},
        "labels": {"train": np.array([0, 1, 0, 1, 1], dtype=np.uint8)},
    }  # fmt: skip
    return Dataset(**(values | changes))  # type: ignore[arg-type]


def test_a_saved_dataset_loads_unchanged_and_has_equal_bytes_each_time(tmp_path: Path) -> None:
    data = example()
    data.save(tmp_path / "one.npz")
    data.save(tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    again = dataset.load(tmp_path / "one.npz")
    assert again.identity == data.identity
    assert again.classes == ("a", "b")
    expected = np.unpackbits(data.features["train"], axis=1)[:, :13]
    assert torch.equal(again.inputs("train"), torch.from_numpy(expected).float())
    assert again.targets("train").tolist() == [0, 1, 0, 1, 1]


def test_files_of_squares_and_points_hold_no_shape_and_others_do(tmp_path: Path) -> None:
    bits, points = np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.float32)
    cases: list[tuple[tuple[int, ...], np.ndarray, bool]] = [
        ((4, 4), bits, False), ((2, 8), bits, True), ((16,), bits, True), ((3,), points, False)
    ]  # fmt: skip
    for shape, rows, stored in cases:
        example(shape=shape, features={"train": rows}, labels={}, classes=()).save(tmp_path / "data.npz")
        assert ("shape" in read_npz(tmp_path / "data.npz")) == stored
        again = dataset.load(tmp_path / "data.npz")
        assert (again.shape, again.width) == (shape, math.prod(shape))
        assert not again.labelled
        assert again.classes == ()


def test_array_files_do_not_depend_on_the_python_version(tmp_path: Path) -> None:
    """A streamed zip entry has an extra field, or none, by the version; numpy.savez streams."""
    write_npz(tmp_path / "arrays.npz", b=np.arange(3.0), a=np.array("text"))
    with zipfile.ZipFile(tmp_path / "arrays.npz") as file:
        entries = file.infolist()
    assert [entry.filename for entry in entries] == ["a.npy", "b.npy"]
    for entry in entries:
        assert (entry.extra, entry.flag_bits, entry.date_time[0]) == (b"", 0, 1980)
    content = (tmp_path / "arrays.npz").read_bytes()
    length = int.from_bytes(content[28:30], "little")
    assert (content[:4], length) == (b"PK\x03\x04", 0), "no extra field in the first local header either"
    read = read_npz(tmp_path / "arrays.npz")
    assert str(read["a"]) == "text"
    assert read["b"].tolist() == [0.0, 1.0, 2.0]


def test_the_digest_changes_with_any_bit_label_or_split() -> None:
    flipped = example().features["train"].copy()
    flipped[3, 1] ^= 1
    others = [
        example(features={"train": flipped}),
        example(labels={"train": np.array([0, 1, 0, 1, 0], dtype=np.uint8)}),
        example(
            features={"test": example().features["train"]},
            labels={"test": example().labels["train"]},
        ),
        example(name="other"),
        example(labels={}),
        example(intensities={"train": np.zeros((5, 13), np.uint8)}),
        example(shape=(4, 3)),
        example(shape=(3, 4)),
    ]
    assert len({example().digest, *(other.digest for other in others)}) == len(others) + 1
    assert len(example().digest) == 32


def test_the_error_for_a_damaged_file_gives_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    example().save(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"is damaged .*dvc repro"):
        dataset.load(path)


def test_a_stand_in_is_named_in_identity() -> None:
    assert example(name="uci-digits", fallback_for="mnist").identity["fallback_for"] == "mnist"


def read(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels = (find(folder, name) for name in names(split))
    pixels, codes = read_split(images, labels, 10)
    assert codes is not None
    return pixels, codes


def test_uci_digits_are_written_as_28_by_28_idx_files(tmp_path: Path) -> None:
    uci_digits.write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(uci_digits.FILES)
    images, labels = read(tmp_path, "train")
    assert images.shape == (1437, 28, 28)
    assert labels.shape == (1437,)
    assert images.max() == 255
    test, _ = read(tmp_path, "test")
    assert test.shape == (360, 28, 28)


def test_torchvision_datasets_load_with_any_torch_version() -> None:
    assert torchvision_mnist().MNIST.resources
    assert files("mnist")["train-images-idx3-ubyte.gz"] == "f68b3c2dcbeaaa9fbdd348bbdeb94873"
    assert classes("mnist") == tuple("0123456789")
    assert classes("fashion-mnist")[9] == "Ankle boot"
    assert len({sum_ for name in ("mnist", "fashion-mnist", "kmnist") for sum_ in files(name).values()}) == 12


def test_validation_images_are_the_last_of_train_and_some_must_remain() -> None:
    parts = hold_out(10, 4)
    assert list(parts) == ["train", "validation"]
    assert np.arange(10)[parts["train"]].tolist() == [0, 1, 2, 3, 4, 5]
    assert np.arange(10)[parts["validation"]].tolist() == [6, 7, 8, 9]
    assert hold_out(10, 0) == {"train": slice(10)}
    with pytest.raises(UserError, match=r"data\.validation is 10"):
        hold_out(10, 10)


def test_pixels_of_half_intensity_and_more_are_one(project: Project) -> None:
    pixels, labels = read(project.path / "data/raw/uci-digits", "train")
    data = dataset.load(project.path / "data/binarized.npz")
    assert torch.equal(data.inputs("train"), torch.from_numpy(pixels.reshape(len(pixels), -1) >= 128).float())
    assert (data.labels["train"] == labels).all()
    assert data.name == "uci-digits"
    assert data.fallback_for == ""
