"""Downloads from real HTTP servers that are down, slow, or send truncated, corrupt or wrong files."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from pathlib import Path

import pytest

from sources import http as sources
from sources.http import SourceFailed, damaged, fetch
from tests.conftest import Answer, Project, send, serve

FILES = {"images.gz": bytes(range(256)) * 400, "labels.gz": b"labels" * 300}
MD5 = {name: hashlib.md5(content).hexdigest() for name, content in FILES.items()}


def get(source: str, folder: Path) -> None:
    fetch(source, "mnist", MD5, folder, quiet=True)


def test_files_come_over_http_from_either_layout(tmp_path: Path) -> None:
    for prefix in ("mnist/", ""):
        folder = tmp_path / (prefix or "flat")
        folder.mkdir()
        with serve({prefix + name: content for name, content in FILES.items()}) as address:
            get(address, folder)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES


def test_files_come_from_a_folder_of_either_layout(tmp_path: Path) -> None:
    for place in (tmp_path / "a" / "mnist", tmp_path / "b"):
        place.mkdir(parents=True)
        for name, content in FILES.items():
            (place / name).write_bytes(content)
    for source in ("a", "b"):
        folder = tmp_path / f"from {source}"
        folder.mkdir()
        get(str(tmp_path / source), folder)
        assert damaged(folder, MD5) == []


def test_only_what_is_missing_or_damaged_is_fetched(tmp_path: Path) -> None:
    (tmp_path / "labels.gz").write_bytes(FILES["labels.gz"])
    (tmp_path / "images.gz").write_bytes(FILES["images.gz"][:1000])
    assert damaged(tmp_path, MD5) == ["images.gz"]
    with serve({"images.gz": FILES["images.gz"]}) as address:
        get(address, tmp_path)
    assert damaged(tmp_path, MD5) == []


def truncated(handler: http.server.BaseHTTPRequestHandler, content: bytes | None) -> None:
    if content is None:
        return send(handler, None)
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])
    return handler.wfile.flush()


def corrupt(handler: http.server.BaseHTTPRequestHandler, content: bytes | None) -> None:
    send(handler, content and content[:-1] + b"?")


def page(handler: http.server.BaseHTTPRequestHandler, _content: bytes | None) -> None:
    send(handler, b"<!DOCTYPE html><title>Welcome to this hotel's network</title>")


def broken(handler: http.server.BaseHTTPRequestHandler, _content: bytes | None) -> None:
    handler.send_error(503)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (truncated, "the connection broke"),
        (corrupt, "is not the published file"),
        (page, "is not the published file"),
        (broken, "HTTP 503"),
    ],
)
def test_a_bad_answer_fails_with_its_reason_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer, reason: str
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)  # between pooch's retries
    with serve(FILES, answer) as address, pytest.raises(SourceFailed, match=reason):
        get(address, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_mirror_that_is_down_or_lacks_the_file_fails_with_the_reason(tmp_path: Path) -> None:
    with serve({}) as address:
        pass
    with pytest.raises(SourceFailed, match="Connection refused"):
        get(address, tmp_path)
    with serve({}) as address, pytest.raises(SourceFailed, match="HTTP 404"):
        get(address, tmp_path)
    with pytest.raises(SourceFailed, match="No such file"):
        get(str(tmp_path / "nowhere"), tmp_path)


@pytest.mark.parametrize(("nested", "expected"), [(False, ["{}"]), (True, ["{}", "mnist/{}"])])
def test_the_address_without_the_dataset_name_is_tried_first(
    tmp_path: Path, nested: bool, expected: list[str]
) -> None:
    asked: list[str] = []

    def note(handler: http.server.BaseHTTPRequestHandler, content: bytes | None) -> None:
        asked.append(handler.path.removeprefix("/cvdf/mnist/"))
        send(handler, content)

    name = next(iter(MD5))
    with serve({}, note) as address, pytest.raises(SourceFailed):
        fetch(f"{address}/cvdf/mnist/", "mnist", {name: MD5[name]}, tmp_path, quiet=True, nested=nested)
    assert asked == [form.format(name) for form in expected]


def test_a_mirror_that_never_answers_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONNECT_SECONDS", "READ_SECONDS"):
        monkeypatch.setattr(sources, name, 0.5)

    given_up = threading.Event()

    def silent(_handler: http.server.BaseHTTPRequestHandler, _content: bytes | None) -> None:
        given_up.wait()

    with serve(FILES, silent) as address:
        with pytest.raises(SourceFailed, match="no answer in time"):
            get(address, tmp_path)
        given_up.set()
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_fault_is_retried(tmp_path: Path) -> None:
    asked: list[str] = []

    def first_time_bad(handler: http.server.BaseHTTPRequestHandler, content: bytes | None) -> None:
        asked.append(handler.path)
        bad = content is not None and asked.count(handler.path) == 1
        (truncated if bad else send)(handler, content)

    with serve(FILES, first_time_bad) as address:
        get(address, tmp_path)
    assert damaged(tmp_path, MD5) == []


def set_dataset_to_mnist(tree: Project, fallback: str = "uci-digits") -> None:
    tree.edit("dataset: uci-digits", "dataset: mnist")
    tree.edit("offline_fallback: uci-digits", f"offline_fallback: {fallback}")


@pytest.mark.slow
def test_without_any_source_the_stand_in_is_used_and_reported(tree: Project) -> None:
    set_dataset_to_mnist(tree)
    printed = tree.run("dvc", "repro", "binarize")
    assert "mnist: no source works" in printed
    assert "Using uci-digits instead" in printed
    assert "MNIST_MIRROR=" in printed
    about = json.loads((tree.path / "data/raw/dataset.json").read_text())
    assert about == {"dataset": "uci-digits", "requested": "mnist"}
    # `make repro` tries again each time, DVC by itself does not
    assert tree.repro("binarize") == []
    assert "names a stand-in; running download again" in tree.run(
        "python", "-m", "workflow.doctor", "--first"
    )


@pytest.mark.parametrize("fallback", ["null", "uci-digits"])
def test_a_failed_download_lists_each_source_and_its_reason(tree: Project, fallback: str) -> None:
    set_dataset_to_mnist(tree, fallback)
    with serve({}, page) as address:
        mirror = {"MNIST_MIRROR": address} if fallback != "null" else {}
        printed = tree.run("dvc", "repro", "download", status=255, **mirror)
    assert "mnist: no source works\n" in printed
    assert "Traceback" not in printed
    assert "ossci-datasets" in printed
    if mirror:
        assert f"1. {address}" in printed
        assert "is not the published file" in printed
    assert "Set MNIST_MIRROR to a folder or an http(s) address" in printed


def test_a_bad_mirror_leaves_earlier_outputs_unchanged(project: Project) -> None:
    before = {
        path: path.read_bytes()
        for folder in ("data", "models", "reports")
        for path in (project.path / folder).rglob("*")
        if path.is_file()
    }
    project.edit("dataset: uci-digits", "dataset: mnist")
    with serve({}, page) as address:
        printed = project.run("dvc", "repro", status=255, MNIST_MIRROR=address)
    assert "mnist: no source works" in printed
    for path, content in before.items():
        assert path.read_bytes() == content, path


def test_a_truncated_file_in_data_raw_is_replaced(project: Project) -> None:
    path = project.path / "data/raw/uci-digits/train-images-idx3-ubyte"
    original = path.read_bytes()
    path.chmod(0o644)
    path.unlink()
    path.write_bytes(original[:1000])
    assert project.repro("binarize") == ["download"]
    assert path.read_bytes() == original
