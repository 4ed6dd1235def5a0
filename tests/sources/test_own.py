"""Own images as arrays and IDX files: each form is read, and each fault has one message with its place."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sources import idx, own
from sources.class_names import name_fault
from sources.pictures import SPLITS
from workflow.core.errors import UserError

SHAPE = (5, 3)  # height, width
Arrays = dict[str, np.ndarray]


def arrays(**changes: np.ndarray | None) -> Arrays:
    generator = np.random.default_rng(0)
    values: dict[str, np.ndarray | None] = {
        "train_images": generator.integers(0, 256, (6, *SHAPE), dtype=np.uint8),
        "train_labels": np.array([0, 1, 2, 0, 1, 2]),
        "test_images": generator.integers(0, 256, (4, *SHAPE), dtype=np.uint8),
        "test_labels": np.array([2, 1, 0, 2]),
    }
    return {name: array for name, array in (values | changes).items() if array is not None}


def saved(folder: Path, content: Arrays) -> Path:
    path = folder / "my faces.npz"
    np.savez_compressed(path, allow_pickle=True, **content)
    return path


def fault(path: Path, names: list[str] | None = None) -> str:
    with pytest.raises(UserError) as caught:
        own.read(path, names)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("compressed", [False, True])
def test_an_npz_is_read_as_it_is(tmp_path: Path, compressed: bool) -> None:
    content = arrays()
    (np.savez_compressed if compressed else np.savez)(tmp_path / "a.npz", allow_pickle=False, **content)
    for path in (tmp_path / "a.npz", tmp_path):  # alone in a folder, the file need not be named
        data = own.read(path, None)
        assert (data.images["train"] == content["train_images"]).all()
        assert data.labels["test"].tolist() == [2, 1, 0, 2]
        assert data.classes == ("0", "1", "2")
        assert data.labels["test"].dtype == np.uint8


def test_floats_become_bytes_by_rounding_and_bools_black_and_white(tmp_path: Path) -> None:
    levels = np.arange(256) / 255
    floats = np.resize(levels, (6, 8, 8)).astype(np.float32)
    data = own.read(saved(tmp_path, arrays(train_images=floats, test_images=floats[:4] > 0.5)), None)
    assert (data.images["train"] == np.resize(np.arange(256), (6, 8, 8))).all()
    assert set(np.unique(data.images["test"])) == {0, 255}
    half = np.full((6, 8, 8), 0.5)
    content = arrays(train_images=half, test_images=half[:4])
    assert (own.read(saved(tmp_path, content), None).images["train"] == 128).all(), "at 0.5 a pixel is 1"


def test_arrays_in_fortrans_order_and_of_other_byte_order_are_read(tmp_path: Path) -> None:
    images = arrays()["train_images"]
    content = arrays(
        train_images=np.asfortranarray(images), train_labels=np.array([0, 1, 2, 0, 1, 2], dtype=">i8")
    )
    data = own.read(saved(tmp_path, content), None)
    assert (data.images["train"] == images).all()
    assert data.labels["train"].tolist() == [0, 1, 2, 0, 1, 2]


def test_labels_may_be_missing_and_may_have_gaps_or_names(tmp_path: Path) -> None:
    bare = own.read(saved(tmp_path, arrays(train_labels=None, test_labels=None)), None)
    assert (bare.labels, bare.classes) == ({}, ())
    content = arrays(train_labels=np.array([7, 3, 7, 3, 7, 30]), test_labels=np.array([30, 3, 3, 7]))
    data = own.read(saved(tmp_path, content), None)
    assert data.classes == ("3", "7", "30")
    assert data.labels["test"].tolist() == [2, 0, 0, 1]
    assert own.read(saved(tmp_path, arrays()), ["cat", "dog", "ant"]).classes == ("cat", "dog", "ant")


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"train_labels": np.arange(5) % 3}, "6 train images, but 5 labels"),
    ({"test_labels": None}, "has labels for train alone"),
    ({"test_images": None}, "lacks test_images"),
    ({"train_label": np.arange(6)}, "has train_label; write train_images, "),
    ({"test_images": np.ones((4, 3, 5), np.uint8)}, "train has 5 x 3 pixels (height x width), but test"),
    ({"train_images": np.ones((6, 65, 64), np.uint8)}, "train_images: pictures of 65 x 64 pixels"),
    ({"train_images": np.ones((6, 0, 3), np.uint8)}, "pictures of 0 x 3 pixels"),
    ({"train_images": np.ones((0, 5, 3), np.uint8)}, "train_images has 0 rows"),
    ({"train_images": np.ones((6, 15), np.uint8)}, "has the shape (6, 15); write images x height x width"),
    ({"train_images": np.ones((6, 5, 3, 1), np.uint8)}, "has the shape (6, 5, 3, 1)"),
    ({"train_images": np.ones((6, 5, 3), np.int64)}, "has type int64; write uint8"),
    ({"train_images": np.ones((6, 5, 3), complex)}, "has type complex128"),
    ({"train_images": np.full((6, 5, 3), np.nan)}, "holds NaN"),
    ({"train_images": np.full((6, 5, 3), np.inf, np.float32)}, "holds NaN or infinite"),
    ({"train_images": np.full((6, 5, 3), 1.5)}, "holds numbers from 1.5 to 1.5; scale them"),
    ({"test_images": np.full((4, 5, 3), -0.5)}, "test_images holds numbers from -0.5"),
    ({"train_images": np.ones((6, 5, 3), np.uint8)}, "are 0 or 1, of 255; write bool"),
    ({"train_images": np.array([{}] * 6)}, "train_images holds Python objects (a pickle)"),
    ({"train_labels": np.array([0.0, 1, 2, 0, 1, 2])}, "type float64; labels are whole numbers"),
    ({"train_labels": np.array(list("abcabc"))}, "labels are whole numbers"),
    ({"train_labels": np.zeros((6, 1), int)}, "has the shape (6, 1); write one label"),
    ({"test_labels": np.array([0, -1, 2, 2])}, "a test label is -1; write whole numbers from 0 on"),
    ({"test_labels": np.array([0, 1, 2, 9])}, "no training image has the label 9"),
    ({"train_labels": np.zeros(6, int), "test_labels": np.zeros(4, int)}, "1 classes; there may be 2 to 256"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "expected"), FAULTS)
def test_a_fault_in_an_npz_is_explained(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    path = saved(tmp_path, arrays(**changes))
    message = fault(path)
    assert expected in message
    assert str(path) in message


def test_names_must_fit_the_labels(tmp_path: Path) -> None:
    path = saved(tmp_path, arrays())
    assert "a train label is 2, but data.classes has 2 names" in fault(path, ["a", "b"])
    assert "class 'd' (label 3) has no training image" in fault(path, ["a", "b", "c", "d"])
    assert "has a $ or" in fault(path, ["a", "b", "c$"])
    for name in ("", "None", "nan", "_legend", "a\nb", "-", "\udc80", "x" * 41, "\\alpha", "a ", "class"):
        assert name_fault(name)
    for name in ("a</script><script>alert(1)</script>", "a<!--<script>"):  # end a script of `dvc plots`
        assert name_fault(name) == "has </ or <!-- in it"
    assert not name_fault("T-shirt/top <é>")
    bare = saved(tmp_path, arrays(train_labels=None, test_labels=None))
    assert "has no labels; write data.classes: null" in fault(bare, ["a", "b"])


def test_a_file_that_is_no_npz_or_claims_more_than_it_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(b"no zip")
    assert f"{path} cannot be read" in fault(path)
    whole = saved(tmp_path, arrays()).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert f"{path} cannot be read" in fault(path)
    for shape, expected in (((1 << 40, 5, 3), "rows; write from 1"), ((1 << 20, 5, 3), "other than the")):
        header = io.BytesIO()
        claim = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, claim)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for split in SPLITS:
                file.writestr(f"{split}_images.npy", header.getvalue() + bytes(8))
        assert expected in fault(path)


def test_a_damaged_npz_is_read_or_refused_in_one_message(tmp_path: Path) -> None:
    path, choose = saved(tmp_path, arrays()), np.random.default_rng(0)
    whole, messages = path.read_bytes(), []
    for at in choose.integers(0, len(whole), 150):
        changed = bytes([whole[at] ^ choose.integers(1, 256)])
        path.write_bytes(whole[:at] + changed + whole[at + 1 :])
        try:
            own.read(path, None)
        except UserError as error:
            messages.append(str(error))
    assert len(messages) > 50
    assert all(str(path) in message for message in messages)


def test_what_is_none_of_the_formats_is_refused(tmp_path: Path) -> None:
    assert "nowhere does not exist; it may be an .npz" in fault(tmp_path / "nowhere")
    (tmp_path / "README.md").touch()
    (tmp_path / ".hidden").touch()
    assert f"{tmp_path} has no images" in fault(tmp_path)
    (tmp_path / "photo.png").touch()
    assert "it has photo.png in it" in fault(tmp_path)
    assert "photo.png is not an .npz" in fault(tmp_path / "photo.png")


def idx_files(folder: Path, *, zipped: bool = False, labels: bool = True) -> Path:
    for split in SPLITS:
        for name, kind in zip(idx.names(split), ("images", "labels")[: 1 + labels], strict=False):
            path = folder / name
            idx.write(path, arrays()[f"{split}_{kind}"])
            if zipped:
                path.with_name(f"{name}.gz").write_bytes(gzip.compress(path.read_bytes()))
                path.unlink()
    return folder


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("labels", [False, True])
def test_idx_files_are_read_with_and_without_labels(tmp_path: Path, zipped: bool, labels: bool) -> None:
    data = own.read(idx_files(tmp_path, zipped=zipped, labels=labels), None)
    assert (data.images["test"] == arrays()["test_images"]).all()
    assert data.classes == (("0", "1", "2") if labels else ())


def test_a_fault_in_idx_files_is_explained(tmp_path: Path) -> None:
    images, labels = (idx_files(tmp_path) / name for name in idx.names("test"))
    labels.unlink()
    assert "has labels for train alone" in fault(tmp_path)
    images.write_bytes(images.read_bytes()[:-1])
    assert f"{images} is damaged (its data are not the 60 bytes" in fault(tmp_path)
    images.unlink()
    assert "lacks t10k-images-idx3-ubyte (or t10k-images-idx3-ubyte.gz)" in fault(tmp_path)
    (tmp_path / "notes.txt").touch()
    assert "notes.txt is none of MNIST's files" in fault(tmp_path)


def test_what_is_written_is_what_binarize_reads(tmp_path: Path) -> None:
    data = own.read(saved(tmp_path, arrays()), None)
    assert data.write(tmp_path / "raw") == [*idx.names("train"), *idx.names("test")]
    files = [tmp_path / "raw" / name for name in idx.names("train")]
    images, labels = idx.read_split(files[0], files[1], 3)
    assert (images == data.images["train"]).all()
    assert labels is not None
    assert (labels == data.labels["train"]).all()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("data/own", "own"), ("data/own/", "own"), ("/a/My Faces (2).npz", "own-my-faces-2"), ("..", "own"),
        ("gesichter-ä", "own-gesichter-a"), ("顔", "own"), ("<b>&'", "own-b"), ("mnist", "own-mnist"),
    ],
)  # fmt: skip
def test_the_name_of_the_dataset_is_safe_and_never_that_of_another(path: str, name: str) -> None:
    assert own.dataset_name(path) == name
