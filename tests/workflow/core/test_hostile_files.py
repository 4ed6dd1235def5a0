"""Damaged files and files with false headers are refused with a message, in little memory."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pages import render
from sources.idx import read_split
from stages.schema import Params
from tests.support.repository import ROOT
from workflow.core import dataset
from workflow.core.arrays import read_npz, write_npz
from workflow.core.errors import UserError
from workflow.core.files import read_json
from workflow.core.params import load
from workflow.core.tables import read_csv
from workflow.core.weights import read_weights, write_weights
from workflow.reproduce.compare import columns

quick = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass(frozen=True)
class Change:
    """One change to the content of a file."""

    how: str
    at: int
    new: bytes

    def __call__(self, content: bytes) -> bytes:
        at = self.at % (len(content) or 1)
        changed = {
            "flip": content[:at] + bytes([content[at] ^ (self.new[0] or 1)]) + content[at + 1 :],
            "cut": content[:at],
            "replace": self.new,
            "append": content + self.new,
            "insert": content[:at] + self.new + content[at:],
        }
        return changed[self.how]


changes = st.builds(
    Change,
    st.sampled_from(["flip", "cut", "replace", "append", "insert"]),
    st.integers(0, 10**6),
    st.binary(min_size=1, max_size=40),
)


def replaced(new: bytes) -> Change:
    return Change("replace", 0, new)


def refusal(read: Callable[[Path], Any], path: Path) -> str:
    """The reader's error message, which must name the file; empty if it reads the file."""
    try:
        read(path)
    except UserError as error:
        return str(error) if str(path) in str(error) else f"{path} is not named: {error}"
    return ""


def idx(*sizes: int, magic: bytes = b"\0\0\x08", data: bytes | None = None) -> bytes:
    content = bytes(int(np.prod(sizes))) if data is None else data
    return magic + bytes([len(sizes)]) + struct.pack(f">{len(sizes)}i", *sizes) + content


def refused(path: Path, labels: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_split(path, labels, 10)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (idx(2, -28, 28, data=b""), r"sizes are (2, -28, 28)"),
        (idx(2**31 - 1, 2**31 - 1, 2**31 - 1, data=b"x"), "sizes are"),
        (idx(60000, 2800, 2800, data=b"x"), "sizes are"),
        (idx(0, 28, 28), "sizes are (0, 28, 28)"),
        (idx(2, 3, 3, data=b"short"), "its data are not the 18 bytes"),
        (idx(2, 3, 3) + b"more", "its data are not the 18 bytes"),
        (idx(2, 3, 3, magic=b"\0\0\x0d"), "no IDX file"),
        (idx(18), "no IDX file"),
        (b"", "no IDX file"),
        (b"\x80\x04\x95 a pickle", "no IDX file"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files_with_hostile_headers_are_refused(
    tmp_path: Path, content: bytes, fault: str, zipped: bool
) -> None:
    path, labels = tmp_path / ("images.gz" if zipped else "images"), tmp_path / "labels"
    path.write_bytes(gzip.compress(content) if zipped else content)
    labels.write_bytes(idx(2))
    message = refused(path, labels)
    assert fault in message
    assert "delete data/raw, then run `dvc repro`" in message


def test_labels_must_be_one_digit_for_each_image(tmp_path: Path) -> None:
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.write_bytes(idx(2, 3, 3))
    for content, fault in (
        (idx(3), "image and label counts differ"),
        (idx(2, data=bytes([1, 10])), "a label is above 9"),
    ):
        labels.write_bytes(content)
        assert fault in refused(images, labels)


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_decompression_bombs_and_false_sizes_are_refused_in_little_memory(tmp_path: Path) -> None:
    """In a process with 300 MB more than Python and numpy need: each file claims gigabytes."""
    bomb = gzip.compress(bytes(1 << 30), 1)  # a gigabyte in 4 MB
    (tmp_path / "images.gz").write_bytes(gzip.compress(idx(2, 3, 3)) + bomb)
    (tmp_path / "labels").write_bytes(idx(2))
    with zipfile.ZipFile(tmp_path / "deflated.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("features_train.npy", bytes(1 << 29))
    header = io.BytesIO()
    claim = {"descr": "<f8", "fortran_order": False, "shape": (1 << 33,)}
    np.lib.format.write_array_header_1_0(header, claim)
    with zipfile.ZipFile(tmp_path / "claims.npz", "w") as file:
        file.writestr("features_train.npy", header.getvalue() + bytes(8))
    size = json.dumps({"w": {"dtype": "F32", "shape": [1 << 33], "data_offsets": [0, 1 << 35]}}).encode()
    (tmp_path / "w.safetensors").write_bytes(len(size).to_bytes(8, "little") + size + bytes(8))
    script = """
import resource, sys
from pathlib import Path
import torch
from workflow.runs.console import UserError
from workflow.core.arrays import read_npz
from sources.idx import read_split
from workflow.core.weights import read_weights
taken = int(next(l for l in open("/proc/self/status") if l.startswith("VmSize")).split()[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (taken + (300 << 20),) * 2)
at = Path(sys.argv[1])
for read in (
    lambda: read_split(at / "images.gz", at / "labels", 10),
    lambda: read_npz(at / "deflated.npz"),
    lambda: read_npz(at / "claims.npz"),
    lambda: read_weights(at / "w.safetensors"),
):
    try:
        read()
    except UserError as error:
        print("refused:", error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("refused:") == 4, done.stdout


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Bad:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "unpickled",))

    np.savez(tmp_path / "evil.npz", allow_pickle=True, a=np.array([Bad()], dtype=object))
    torch.save({"w": Bad()}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match="is damaged"):
        read_npz(tmp_path / "evil.npz")
    with pytest.raises(UserError, match="is damaged"):
        read_weights(tmp_path / "evil.pt")
    assert not (tmp_path / "unpickled").exists()
    for package in ("elbo", "pages", "plots", "sources", "stages", "workflow"):
        for path in (ROOT / package).rglob("*.py"):
            code = path.read_text()
            assert not any(word in code for word in (" torch.load(", "pickle.load", "np.load(")), path


@quick
@given(change=changes)
def test_idx_files_are_read_or_refused_whatever_is_in_them(tmp_path: Path, change: Change) -> None:
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.write_bytes(change(idx(2, 3, 3)))
    labels.write_bytes(idx(2))
    zipped = tmp_path / "images.gz"
    zipped.write_bytes(change(gzip.compress(idx(2, 3, 3))))
    for path in (images, zipped):
        message = refusal(lambda path: read_split(path, labels, 10), path)
        assert not message or "delete data/raw" in message


@pytest.mark.parametrize(
    "header", [b"{'descr': (", b"-" * 9000, b"{[]: 1}", b"{'shape': " + b"(" * 5000, b"\xff\xfe", b""]
)
def test_an_array_with_an_invalid_header_is_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    assert "`dvc repro` makes it again" in refusal(read_npz, path)


@quick
@given(change=changes)
def test_arrays_and_weights_are_read_or_refused_whatever_is_in_them(tmp_path: Path, change: Change) -> None:
    arrays, weights = tmp_path / "a.npz", tmp_path / "w.safetensors"
    readers: list[tuple[Path, Callable[[Path], Any]]] = [
        (arrays, read_npz), (arrays, dataset.load), (weights, read_weights)
    ]  # fmt: skip
    for path, read in readers:
        write_npz(arrays, a=np.arange(4.0), name=np.array("mnist"))
        write_weights(weights, {"w": torch.arange(4.0)}, {"activation": "relu"})
        path.write_bytes(change(path.read_bytes()))
        message = refusal(read, path)
        assert not message or "`dvc repro` makes it again" in message


PARAMS = (ROOT / "params.yaml").read_bytes()


@quick
@given(change=changes)
@example(replaced(b"[" * 5000))
@example(replaced(b"a: &a [*a]\n" + PARAMS))
@example(replaced(PARAMS.replace(b"lr: 0.0003", b"lr: .nan")))
@example(replaced(PARAMS.replace(b"lr: 0.0003", b"lr: !!python/object/apply:os.system ['false']")))
def test_params_are_read_or_refused_in_one_message(tmp_path: Path, change: Change) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(change(PARAMS))
    message = refusal(lambda path: load(Params, "compute", path=path), path)
    assert "is not named" not in message
    assert message or change.how in ("flip", "append", "insert", "cut")


@quick
@given(change=changes)
@example(replaced(b"[" * 100_000))
@example(replaced(b"a,b\n1\n"))
def test_metrics_files_are_read_or_refused_whatever_is_in_them(tmp_path: Path, change: Change) -> None:
    metrics, table = tmp_path / "metrics.json", tmp_path / "table.csv"
    metrics.write_bytes(change(json.dumps({"test": {"elbo": -137.5}, "dataset": "mnist"}).encode()))
    table.write_bytes(change(b"epoch,elbo\n1,-137.500000\n2,-136.250000\n"))
    readers: list[tuple[Path, Callable[[Path], Any]]] = [
        (metrics, read_json), (table, render.rows), (table, read_csv)
    ]  # fmt: skip
    for path, read in readers:
        assert "is not named" not in refusal(read, path)
    for path in (metrics, table):
        with contextlib.suppress(ValueError):  # which `make verify` reports
            columns(path)
