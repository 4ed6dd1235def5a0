"""MLflow's port and links, servers that refuse, and second stores in subfolders."""

from __future__ import annotations

import http.server
import re
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.server.security_utils import INVALID_HOST_MSG

from tests.conftest import Project, commit, serve
from tests.support.pages import chromium
from tests.support.processes import kill_process_tree, read_until, start_process
from tests.support.stores import wait_for
from workflow.core.errors import UserError
from workflow.tracking import ui
from workflow.tracking.live import explain
from workflow.tracking.store import Store
from workflow.tracking.sync import second_stores


@pytest.fixture
def used_port() -> Iterator[int]:
    """A port on which another program listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_the_next_free_port_is_used(used_port: int) -> None:
    free = ui.choose_port("", first=used_port)
    assert used_port < free < used_port + 100
    with pytest.raises(UserError, match=f"port {used_port} is taken by another program"):
        ui.choose_port(str(used_port))
    with pytest.raises(UserError, match="PORT=x is not a port"):
        ui.choose_port("x")
    assert ui.choose_port("", first=free) == free


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "answers 403: it is not an MLflow server (AirPlay"),
        (INVALID_HOST_MSG.encode(), "start it with `--allowed-hosts '127.0.0.1:{port},localhost:*'`"),
    ],
)
def test_a_server_error_is_explained_in_two_lines(
    body: bytes, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handler: http.server.BaseHTTPRequestHandler, _content: bytes | None) -> None:
        handler.send_response(403)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    with serve({}, refuse) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with pytest.raises(Exception, match="403") as caught:
            Store()
        message = explain(caught.value)
    assert expected.format(port=address.rpartition(":")[2]) in message
    assert "Exception" not in message
    assert len(message.splitlines()) == 2


def test_a_password_in_the_address_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@team:5000")
    message = explain(RuntimeError(f"failed with error code 403 != 200. Response body: '{INVALID_HOST_MSG}'"))
    assert "team:5000" in message
    assert "secret" not in message


def test_a_second_store_in_a_folder_below_is_named(
    tree: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tree.path)
    (tree.path / "mlflow.db").touch()
    assert second_stores() == []
    (tree.path / "reports/mlflow.db").touch()
    assert second_stores() == ["reports/mlflow.db"]
    printed = tree.run("python", "-m", "workflow.tracking")
    assert "reports/mlflow.db is a second store, without these runs" in printed
    commit(tree)  # one that is kept on purpose
    assert second_stores() == []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert second_stores() == []


@pytest.mark.slow
def test_make_ui_prints_links_that_open_their_pages(reproduced: Project, tmp_path: Path) -> None:
    project = reproduced.copy(tmp_path / "My%20Project?")
    project.run("python", "-m", "workflow.tracking")
    expected_texts = {
        "experiment vae": "tuned",
        "experiment classifier": "annuli",
        "experiment quadratic": "well_conditioned",
        "comparison of notebook, tuned": "Comparing 2 Runs from 1 Experiment",
        "registered models": "vae-decoder",
    }
    process = start_process(project, "python", "-m", "workflow.tracking.ui")
    try:
        links = dict(re.findall(r"^  (.*): (http\S+)$", read_until(process, "registered models"), re.M))
        assert list(links) == list(expected_texts)
        wait_for(lambda: answers(links["registered models"].partition("#")[0]))
        with chromium() as browser:
            page = browser.new_page()
            for title, link in links.items():
                page.goto("about:blank")  # a change after # alone would not load it
                page.goto(link)
                page.get_by_text(expected_texts[title], exact=True).first.wait_for(timeout=120_000)
    finally:
        kill_process_tree(process)


def answers(address: str) -> bool:
    try:
        return bool(urllib.request.urlopen(f"{address}health", timeout=2).read())
    except OSError:
        return False
