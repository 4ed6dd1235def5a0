"""Folders of pictures as a user has them: what is read, in which order, and each fault with its path."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sources import own, pictures
from sources.pictures import SPLITS
from workflow.core.errors import UserError

SHAPE = (4, 6)  # height, width


def grey(number: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


def put(path: Path, pixels: np.ndarray | None = None) -> np.ndarray:
    """Writes a picture that depends on its file's name alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = grey(zlib.crc32(path.name.encode())) if pixels is None else pixels
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes; three pictures of each in train, two in test."""
    root = tmp_path / "faces"
    for split, count in (("train", 3), ("test", 2)):
        for name in ("cat", "dog"):
            for number in range(count):
                put(root / split / name / f"{name} {number}.png")
    return root


def fault(root: Path) -> str:
    with warnings.catch_warnings(action="error"), pytest.raises(UserError) as caught:
        own.read(root, None)
    return str(caught.value)


def test_pictures_have_the_classes_of_their_folders(folder: Path) -> None:
    (folder / "README.md").touch()
    (folder / "train/.DS_Store").touch()
    (folder / "train/cat/.hidden.png").touch()
    data = own.read(folder, None)
    assert data.classes == ("cat", "dog")
    assert data.images["train"].shape == (6, *SHAPE)
    assert sorted(data.labels["train"].tolist()) == [0, 0, 0, 1, 1, 1]
    for split in SPLITS:
        for pixels, label in zip(data.images[split], data.labels[split], strict=True):
            paths = (folder / split / data.classes[label]).glob("[!.]*.png")
            assert any((pixels == np.asarray(Image.open(path))).all() for path in paths)
    assert own.read(folder, ["Katze", "Hund"]).classes == ("Katze", "Hund")


def test_classes_are_mixed_and_the_order_does_not_depend_on_the_file_system(
    folder: Path, tmp_path: Path
) -> None:
    for number in range(40):
        for name in ("cat", "dog"):
            put(folder / "train" / name / f"{number}.png")
    data = own.read(folder, None)
    assert 4 < data.labels["train"][-20:].sum() < 16, "a part that is held out has both classes"
    other = tmp_path / "elsewhere/faces"
    for path in sorted(folder.rglob("*.png"), reverse=True):  # created in another order
        (other / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
        (other / path.relative_to(folder)).write_bytes(path.read_bytes())
    again = own.read(other, None)
    for split in SPLITS:
        assert (again.images[split] == data.images[split]).all()
        assert (again.labels[split] == data.labels[split]).all()


def test_classes_that_are_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    for split in SPLITS:
        for name in ("10", "9", "1"):
            put(tmp_path / split / name / "a.png")
    assert own.read(tmp_path, None).classes == ("1", "9", "10")
    assert pictures.in_order({"b": 0, "10": 0, "9": 0}) == ("10", "9", "b")


def test_pictures_without_classes_have_no_labels(tmp_path: Path) -> None:
    for split in SPLITS:
        for number in range(3):
            put(tmp_path / split / f"{number}.png")
    data = own.read(tmp_path, None)
    assert (data.labels, data.classes) == ({}, ())
    assert data.images["test"].shape == (3, *SHAPE)


def test_each_kind_of_picture_becomes_grey_bytes(tmp_path: Path) -> None:
    levels = grey(1)
    deep = levels.astype(np.uint16) * 257
    colours = np.repeat(levels[..., None], 3, axis=2)
    opaque = np.concatenate([colours, np.full((*SHAPE, 1), 255, np.uint8)], axis=2)
    for name, pixels in (("deep", deep), ("colours", colours), ("opaque", opaque)):
        put(tmp_path / f"{name}.png", pixels)
        assert (pictures.grey(tmp_path / f"{name}.png") == levels).all(), name
    Image.fromarray(levels > 127).save(tmp_path / "bits.PNG")
    assert (pictures.grey(tmp_path / "bits.PNG") == 255 * (levels > 127)).all()
    Image.fromarray(levels).convert("P").save(tmp_path / "palette.png")
    assert (pictures.grey(tmp_path / "palette.png") == levels).all()
    smooth = np.add.outer(np.arange(32), np.arange(20)).astype(np.uint8) * 4
    Image.fromarray(smooth).save(tmp_path / "photo.jpeg", quality=95)
    assert abs(pictures.grey(tmp_path / "photo.jpeg").astype(int) - smooth).max() < 10
    turned = Image.Exif()
    turned[0x112] = 6  # to be shown turned by 90 degrees clockwise
    Image.fromarray(levels).save(tmp_path / "turned.png", exif=turned)
    assert (pictures.grey(tmp_path / "turned.png") == np.rot90(levels, -1)).all()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims a size."""
    header = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def test_a_picture_of_another_size_is_named_with_the_one_it_differs_from(folder: Path) -> None:
    put(folder / "test/dog/odd.png", grey(0, (6, 4)))
    message = fault(folder)
    assert "test/dog/odd.png has 6 x 4 pixels (height x width), but " in message
    assert "has 4 x 6 pixels" in message


@pytest.mark.parametrize("size", [(40_000, 40_000), (65, 64), (64, 65)])
def test_a_picture_that_claims_to_be_large_is_refused_from_its_header(
    folder: Path, size: tuple[int, int]
) -> None:
    (folder / "train/cat/big.png").write_bytes(claims(*size))
    assert f"train/cat/big.png: pictures of {size[1]} x {size[0]} pixels" in fault(folder)
    assert Image.MAX_IMAGE_PIXELS is not None, "Pillow's own limit holds again"


@pytest.mark.parametrize("damage", ["cut", "end", "sum", "text", "empty", "gif", "zero", "flipped"])
def test_a_damaged_picture_is_named(folder: Path, damage: str) -> None:
    path = folder / "train/dog/dog 1.png"
    whole = path.read_bytes()
    middle = whole.index(b"IDAT") + 10
    flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    sum_ = whole.index(b"IEND") - 8
    contents = {
        "end": whole[: whole.index(b"IEND")],  # all pixels are there
        "sum": whole[:sum_] + bytes([whole[sum_] ^ 255]) + whole[sum_ + 1 :],
        "cut": whole[: middle + 5], "text": b"hello", "empty": b"", "zero": claims(0, 6), "flipped": flipped,
    }  # fmt: skip
    if damage == "gif":
        Image.fromarray(grey(0)).save(path, format="GIF")
    else:
        path.write_bytes(contents[damage])
    message = fault(folder)
    assert str(path) in message
    assert "cannot be read (" in message or damage == "zero"
    assert message.count("dog 1.png") == 1, message


def test_a_truncated_jpeg_and_a_transparent_picture_are_named(folder: Path) -> None:
    path = folder / "train/dog/cut.jpg"
    Image.fromarray(grey(0, (48, 48))).save(path)
    path.write_bytes(path.read_bytes()[:-300])
    assert f"{path} cannot be read (image file is truncated" in fault(folder)
    path.unlink()
    put(folder / "train/dog/see-through.png", grey(3, (*SHAPE, 4)))
    assert "see-through.png is partly transparent; give it a background" in fault(folder)


def test_faults_of_classes_are_named(folder: Path) -> None:
    put(folder / "test/bird/a.png")
    assert f"{folder}/test/bird: {folder}/train has no class of this name" in fault(folder)
    (folder / "test/bird/a.png").unlink()
    assert "test/bird is empty; put pictures of this class there" in fault(folder)
    (folder / "test/bird").rmdir()
    put(folder / "test/loose.png")
    assert "test/loose.png is in no class" in fault(folder)
    (folder / "test/loose.png").unlink()
    (folder / "test/dog").rename(folder / "test/$dog$")
    (folder / "train/dog").rename(folder / "train/$dog$")
    assert "class '$dog$' does not begin with a letter" in fault(folder)
    assert own.read(folder, ["dog", "cat"]).classes == ("dog", "cat")
    with pytest.raises(UserError, match=r"3 names, but .* has 2 classes: \$dog\$, cat"):
        own.read(folder, ["a", "b", "c"])


def test_faults_of_splits_are_named(folder: Path) -> None:
    (folder / "validation").mkdir()
    assert "validation is not read; keep only train/ and test/" in fault(folder)
    (folder / "validation").rmdir()
    (folder / "test").rename(folder.parent / "aside")
    assert f"{folder}/test is missing" in fault(folder)
    (folder / "test").mkdir()
    assert f"{folder}/test has no pictures" in fault(folder)
    put(folder / "test/a.png")
    assert f"{folder}/train has a folder for each class, and {folder}/test has none" in fault(folder)


def test_files_that_are_no_pictures_are_named(folder: Path) -> None:
    (folder / "train/cat/notes.txt").touch()
    assert "train/cat/notes.txt is no picture of .png, .jpg, .jpeg" in fault(folder)
    (folder / "train/cat/notes.txt").unlink()
    (folder / "train/cat/more").mkdir()
    assert "train/cat/more is no file" in fault(folder)
    (folder / "train/cat/more").rmdir()
    os.mkfifo(folder / "train/cat/pipe.png")
    assert "train/cat/pipe.png is no file" in fault(folder)


def test_links_are_followed_inside_the_folder_and_refused_outside(folder: Path, tmp_path: Path) -> None:
    (folder / "train/cat/again.png").symlink_to(folder / "train/cat/cat 1.png")
    (tmp_path / "link").symlink_to(folder)
    assert len(own.read(tmp_path / "link", None).images["train"]) == 7
    put(tmp_path / "secret.png")
    for name, target in (("train/dog/out.png", tmp_path / "secret.png"), ("test/out", tmp_path)):
        (folder / name).symlink_to(target)
        assert f"{name} is a link that leads out of {folder}" in fault(folder)
        (folder / name).unlink()
    (folder / "train/dog/again.png").symlink_to("again.png")
    assert "train/dog/again.png is " in fault(folder)  # a link to itself
