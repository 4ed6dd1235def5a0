"""Folders of small pictures: train/<class>/*.png and test/<class>/*.png, or without classes."""

import hashlib
import re
import struct
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workflow.core.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

SPLITS = ("train", "test")
LARGEST_SIDE = 64  # pixels
ENDINGS = (".png", ".jpg", ".jpeg")
FORMATS = ("PNG", "JPEG")
# what Pillow raises, given any bytes
UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, TypeError, IndexError, KeyError, struct.error)


def entries(folder: Path, root: Path) -> list[Path]:
    """What is in a folder of the user's, sorted; hidden files and a README are left out.

    Raises:
        UserError: a link leads out of `root`, which has no links in its own path.
    """
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.stem.lower() == "readme":
            continue
        if path.is_symlink() and not _target(path).is_relative_to(root):
            raise UserError(f"{path} is a link that leads out of {root}; put a copy there instead")
        found.append(path)
    return found


def _target(link: Path) -> Path:
    try:
        return link.resolve()
    except RuntimeError:  # by Python 3.12 and before, of links in a circle
        raise UserError(f"{link} is a link that leads to itself; put a copy there instead") from None


def read(root: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], tuple[str, ...]]:
    """The pictures of a folder.

    Returns:
        by split, images (N, H, W) uint8; by split, the numbers (N,) of their classes, or {}; the names of the
        classes. The images are in the order of a hash of their paths, so that the classes are mixed (a part
        of them can be held out) and the order is the same on all file systems.

    Raises:
        UserError: the first fault that is found, with the path.
    """
    others = [path for path in entries(root, root) if path.name not in SPLITS]
    if others:
        raise UserError(f"{others[0]} is not read; keep only train/ and test/ in {root}")
    listed = {split: _split(root / split, root) for split in SPLITS}
    labelled = {split for split in SPLITS if "" not in listed[split]}
    if len(labelled) == 1:
        with_, without = sorted(SPLITS, key=lambda split: split not in labelled)
        fault = f"{root / with_} has a folder for each class, and {root / without} has none"
        raise UserError(f"{fault}; sort both into classes, or neither")
    classes = in_order(listed["train"])
    if unknown := [name for name in in_order(listed["test"]) if name not in classes]:
        fault = f"{root / 'test' / unknown[0]}: {root / 'train'} has no class of this name"
        raise UserError(f"{fault}; add training pictures of it, or remove it")
    images, labels = {}, {}
    with any_size():
        size: tuple[Path, tuple[int, ...]] | None = None
        for split in SPLITS:
            each = [(path, classes.index(name)) for name, paths in listed[split].items() for path in paths]
            each.sort(key=lambda item: _mixed(item[0].relative_to(root)))
            pixels = []
            for path, _ in each:
                pixels.append(grey(path))
                size = size or (path, pixels[0].shape)
                if pixels[-1].shape != size[1]:
                    sizes = f"{path} has {shown(pixels[-1].shape)}, but {size[0]} has {shown(size[1])}"
                    raise UserError(f"{sizes}; give all pictures one size")
            images[split] = np.stack(pixels)
            labels[split] = np.array([label for _, label in each])
    return images, labels if labelled else {}, classes if labelled else ()


def in_order(names: Mapping[str, object]) -> tuple[str, ...]:
    """Class names sorted: as numbers if all are, or else as text."""
    numbers = all(re.fullmatch("[0-9]+", name) for name in names)
    return tuple(sorted(names, key=lambda name: (int(name) if numbers else 0, name)))


def grey(path: Path) -> np.ndarray:
    """The grey levels (H, W) uint8 of a PNG or JPEG file; colours by ITU-R 601, as Pillow converts them.

    The size is checked before the file's content is unpacked. A photograph stands as its EXIF says, as
    programs show it.

    Raises:
        UserError: the file is no picture, is damaged, too large, or partly transparent.
        OSError: the file cannot be opened.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path, formats=FORMATS) as image:
            check_size(str(path), (image.height, image.width))
            image.verify()  # the checksums, also behind the last pixel; then the file has to be opened anew
        with Image.open(path, formats=FORMATS) as image:
            image.load()
            return _levels(path, ImageOps.exif_transpose(image))
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.errno:
            raise
        fault = "no PNG or JPEG picture" if isinstance(error, UnidentifiedImageError) else str(error)
        raise UserError(f"{path} cannot be read ({fault}); replace or remove it") from None


def check_size(where: str, shape: tuple[int, ...]) -> None:
    """Raises a UserError unless a picture of `shape` (height, width) has from 1 x 1 to 64 x 64 pixels."""
    if not all(1 <= side <= LARGEST_SIDE for side in shape):
        limit = f"{LARGEST_SIDE} x {LARGEST_SIDE}"
        raise UserError(f"{where}: pictures of {shown(shape)}; from 1 x 1 to {limit} are read, so scale them")


def shown(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} x {shape[1]} pixels (height x width)"


@contextmanager
def any_size() -> Iterator[None]:
    """Turns off Pillow's own warnings and errors about large pictures: `grey` refuses these by itself."""
    from PIL import Image

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _levels(path: Path, image: "Image") -> np.ndarray:
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
        raise UserError(f"{path} is partly transparent; give it a background, such as black")
    if image.mode.startswith("I"):  # 16 bits, which Pillow's conversion would cut off
        return np.rint(np.asarray(image).astype(float) / 257).astype(np.uint8)
    return np.asarray(image.convert("L"))


def _split(folder: Path, root: Path) -> dict[str, list[Path]]:
    """The pictures of a split by class; without classes, all by the name ""."""
    if not folder.is_dir():
        raise UserError(f"{folder} is missing: a folder of pictures has train/ and test/ in it")
    found = entries(folder, root)
    folders = [path for path in found if path.is_dir()]
    if not found:
        raise UserError(f"{folder} has no pictures; put them there ({', '.join(ENDINGS)})")
    if not folders:
        return {"": _pictures(folder, found)}
    if loose := [path for path in found if path not in folders]:
        raise UserError(f"{loose[0]} is in no class: {folder} has folders, so move it into one of them")
    names = [unicodedata.normalize("NFC", path.name) for path in folders]
    if len(set(names)) < len(names):
        raise UserError(f"{folder} has two folders whose names look the same; rename one")
    return {name: _pictures(path, entries(path, root)) for name, path in zip(names, folders, strict=True)}


def _pictures(folder: Path, found: list[Path]) -> list[Path]:
    for path in found:
        if not path.is_file():
            raise UserError(f"{path} is no file; a class is a folder of pictures alone")
        if path.suffix.lower() not in ENDINGS:
            raise UserError(f"{path} is no picture of {', '.join(ENDINGS)}; convert or remove it")
    if not found:
        raise UserError(f"{folder} is empty; put pictures of this class there, or remove the folder")
    return found


def _mixed(path: Path) -> str:
    name = unicodedata.normalize("NFC", path.as_posix())
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
