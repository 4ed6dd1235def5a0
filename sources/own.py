"""A user's own images: an npz, a folder of pictures or a folder of IDX files, as the files of MNIST."""

import lzma
import re
import unicodedata
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from sources import idx, pictures
from sources.class_names import LONGEST, name_fault
from sources.pictures import SPLITS, check_size, shown
from workflow.core.arrays import UNREADABLE
from workflow.core.errors import UserError

NAME = "own"
ARRAYS = tuple(f"{split}_{kind}" for split in SPLITS for kind in ("images", "labels"))
FORMATS = """an .npz, a folder with train/ and test/, or a folder of IDX files (docs/data.md)"""
CLASSES = 256  # a label is a byte
BLOCK = 4096  # images whose floats are converted at once


@dataclass(frozen=True)
class Own:
    """Images (N, H, W) and labels (N,), uint8, by split; without labels, `labels` and `classes` are empty."""

    images: Mapping[str, np.ndarray]
    labels: Mapping[str, np.ndarray]
    classes: tuple[str, ...]

    def write(self, folder: Path) -> list[str]:
        """Writes IDX files with MNIST's names; returns these names."""
        written = []
        for split in SPLITS:
            for name, values in zip(idx.names(split), (self.images, self.labels), strict=True):
                if split in values:
                    idx.write(folder / name, values[split])
                    written.append(name)
        return written


def dataset_name(path: str) -> str:
    """`own-` and the name of the file or folder in letters that any file name and page can hold, or `own`."""
    plain = unicodedata.normalize("NFKD", Path(path).stem).encode("ascii", "ignore").decode().lower()
    name = "-".join(re.findall("[a-z0-9]+", plain))[:LONGEST].rstrip("-")
    return NAME if name in ("", NAME) else f"{NAME}-{name}"


def read(path: Path, names: Sequence[str] | None) -> Own:
    """Reads the images at `path`, in whichever of the formats they are.

    Args:
        names: the names of the classes by label (or of the class folders in their order); None: the folders'
            names, or the labels.

    Raises:
        UserError: the first fault that is found, with the path.
        OSError: a file cannot be read.
    """
    images, labels, folders = _read(path)
    if (sizes := [images[split].shape[1:] for split in SPLITS])[0] != sizes[1]:
        raise UserError(f"{path}: train has {shown(sizes[0])}, but test has {shown(sizes[1])}; use one size")
    for split in SPLITS:
        if images[split].size > idx.LARGEST:
            raise UserError(f"{path}: the {split} images have more than {idx.LARGEST} pixels; use fewer")
    if images["train"].max() <= 1:
        fault = "all pixels of the training images are 0 or 1, of 255"
        raise UserError(f"{path}: {fault}; write bool arrays, or 255 for white")
    if not labels:
        if names:
            raise UserError(f"data.classes names classes, but {path} has no labels; write data.classes: null")
        return Own(images, {}, ())
    if names and folders and len(names) != len(folders):
        fault = f"data.classes has {len(names)} names, but {path} has {len(folders)} classes"
        raise UserError(f"{fault}: {', '.join(folders)}")
    codes, classes = numbered(path, labels, names or folders)
    for name in classes:
        if fault := name_fault(name):
            raise UserError(f"{path}: class {name!r} {fault}; rename it, or name all in data.classes")
    return Own(images, codes, classes)


def numbered(
    path: Path, labels: Mapping[str, np.ndarray], names: Sequence[str] | None
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Labels as bytes from 0 on, and the names of the classes: `names`, or else the labels as text.

    Raises:
        UserError: a label is negative or has no name, or a class has no training image.
    """
    present = np.unique(labels["train"])
    for split in SPLITS:
        if (low := labels[split].min()) < 0:
            raise UserError(f"{path}: a {split} label is {low}; write whole numbers from 0 on")
        if names and (high := labels[split].max()) >= len(names):
            fault = f"a {split} label is {high}, but data.classes has {len(names)} names"
            raise UserError(f"{path}: {fault}; name the classes of all labels from 0 on")
    if unknown := sorted(set(labels["test"].tolist()) - set(present.tolist())):
        raise UserError(f"{path}: no training image has the label {unknown[0]}, but a test image has it")
    classes = tuple(names) if names else tuple(str(label) for label in present.tolist())
    if len(present) < len(classes):
        label = min(set(range(len(classes))) - set(present.tolist()))
        fault = f"class {classes[label]!r} (label {label}) has no training image"
        raise UserError(f"{path}: {fault}; remove it from data.classes, and number the labels without it")
    if not 2 <= len(classes) <= CLASSES:
        fault = f"{len(classes)} classes; there may be 2 to {CLASSES}, or no labels at all"
        raise UserError(f"{path}: {fault}")
    return {split: np.searchsorted(present, labels[split]).astype(np.uint8) for split in SPLITS}, classes


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], tuple[str, ...] | None]:
    """Images, labels as they are (or {}), and the names that folders give."""
    if not path.exists():
        raise UserError(f"data.path: {path} does not exist; it may be {FORMATS}")
    if path.is_file():
        if path.suffix.lower() != ".npz":
            raise UserError(f"data.path: {path} is not {FORMATS}")
        return (*_arrays(path), None)
    root = path.resolve()
    found = pictures.entries(root, root)
    if not found:
        raise UserError(f"data.path: {path} has no images; put there {FORMATS}")
    if len(found) == 1 and found[0].suffix.lower() == ".npz":
        return (*_arrays(found[0]), None)
    known = {f"{name}{ending}" for split in SPLITS for name in idx.names(split) for ending in ("", ".gz")}
    if any(entry.name in known for entry in found):
        if others := [entry for entry in found if entry.name not in known]:
            raise UserError(f"{others[0]} is none of MNIST's files; remove it from the folder of IDX files")
        return (*_idx_files(path, root), None)
    if any(entry.name in SPLITS for entry in found):
        return pictures.read(root)
    raise UserError(f"data.path: {path} is not {FORMATS}; it has {found[0].name} in it")


def _idx_files(path: Path, root: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    images, labels = {}, {}
    for split in SPLITS:
        image_file, label_file = (idx.find(root, name) for name in idx.names(split))
        if not image_file.exists():
            raise UserError(f"{path} lacks {image_file.stem} (or {image_file.name})")
        images[split] = idx.read(image_file, 3, "replace it")
        check_size(str(image_file), images[split].shape[1:])
        if label_file.exists():
            labels[split] = idx.read(label_file, 1, "replace it")
    _check_labels(path, images, labels)
    return images, labels


def _arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    try:
        with zipfile.ZipFile(path) as file:
            there = [name.removesuffix(".npy") for name in file.namelist()]
            needed = {f"{split}_images" for split in SPLITS}
            if (missing := sorted(needed - set(there))) or (set(there) - set(ARRAYS)):
                fault = f"lacks {missing[0]}" if missing else f"has {min(set(there) - set(ARRAYS))}"
                raise UserError(f"{path} {fault}; write {', '.join(ARRAYS)} (or no labels)")
            arrays = {}
            for name in there:
                with file.open(f"{name}.npy") as entry:
                    arrays[name] = _array(entry, f"{path}: {name}", images=name.endswith("images"))
    except (*UNREADABLE, KeyError, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{path} cannot be read ({error}); write it by numpy.savez") from None
    images = {split: _bytes(arrays[f"{split}_images"], f"{path}: {split}_images") for split in SPLITS}
    labels = {split: arrays[name] for split in SPLITS if (name := f"{split}_labels") in arrays}
    _check_labels(path, images, labels)
    return images, labels


def _check_labels(path: Path, images: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]) -> None:
    if len(labels) == 1:
        (split,) = labels
        raise UserError(f"{path} has labels for {split} alone; give them for train and test, or for neither")
    for split, values in labels.items():
        if len(values) != len(images[split]):
            counts = f"{len(images[split])} {split} images, but {len(values)} labels"
            raise UserError(f"{path} has {counts}; give each image one label")


def _array(file: IO[bytes], where: str, *, images: bool) -> np.ndarray:
    """An array in numpy's format, whose header is checked before memory is taken; pickles are never read."""
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError("another version of numpy's format")
    shape, fortran, dtype = readers[version](file)
    if dtype.hasobject:
        raise UserError(f"{where} holds Python objects (a pickle), which are not read; write plain numbers")
    if images and dtype != np.uint8 and dtype.kind not in "bf":
        raise UserError(f"{where} has type {dtype}; write uint8 (0 to 255), bool, or floats from 0 to 1")
    if not images and dtype.kind not in "iu":
        raise UserError(f"{where} has type {dtype}; labels are whole numbers")
    if len(shape) != (3 if images else 1):
        form = "images x height x width" if images else "one label for each image"
        raise UserError(f"{where} has the shape {shape}; write {form}")
    if images:
        check_size(where, shape[1:])
    count = int(np.prod(shape, dtype=object))
    if not 0 < count <= idx.LARGEST:
        raise UserError(f"{where} has {shape[0]} rows; write from 1 row to {idx.LARGEST} numbers in all")
    size = count * dtype.itemsize
    content = file.read(size + 1)
    if len(content) != size:
        raise ValueError(f"{where} has other than the {size} bytes that its header says")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _bytes(values: np.ndarray, where: str) -> np.ndarray:
    """Intensities as bytes: of floats from 0 to 1, 255 times as large and rounded (halves to even)."""
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if values.dtype.kind == "b":
        return values * np.uint8(255)
    result = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), BLOCK):
        block = values[start : start + BLOCK].astype(float)
        if not np.isfinite(block).all():
            raise UserError(f"{where} holds NaN or infinite numbers; write floats from 0 to 1")
        if block.min() < 0 or block.max() > 1:
            span = f"from {block.min():g} to {block.max():g}"
            raise UserError(f"{where} holds numbers {span}; scale them to 0 to 1, or write uint8 (0 to 255)")
        result[start : start + BLOCK] = np.rint(255 * block)
    return result
