"""MLflow's port, servers that refuse, and second stores in subfolders."""

from __future__ import annotations

import http.server
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.server.security_utils import INVALID_HOST_MSG

from tests.conftest import Project, commit, serve
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
        (b"", "answers 403 without a text, so it is not an MLflow server (AirPlay"),
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
