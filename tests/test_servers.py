"""Where MLflow is, or is not: ports that are taken, servers that refuse, second stores in folders below."""

from __future__ import annotations

import http.server
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.server.security_utils import INVALID_HOST_MSG

from pipeline import ui
from pipeline.console import UserError
from pipeline.mirror import strays
from pipeline.store import Store
from pipeline.tracking import cause
from tests.conftest import Project, commit, serve


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which another program listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_port_that_is_taken_gives_way_to_the_next_one(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui, "FIRST", taken)
    assert taken < ui.port("") < taken + ui.TRIED
    with pytest.raises(UserError, match=f"port {taken} is taken: another program listens there"):
        ui.port(str(taken))
    with pytest.raises(UserError, match="PORT=x is no port"):
        ui.port("x")
    monkeypatch.setattr(ui, "FIRST", free := ui.port(""))
    assert ui.port("") == free


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "answers 403 and says nothing, so it is no MLflow server (AirPlay"),
        (INVALID_HOST_MSG.encode(), "start it with `--allowed-hosts '127.0.0.1:{port},localhost:*'`"),
    ],
)
def test_a_server_that_refuses_is_explained_in_a_sentence(
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
        said = cause(caught.value)
    assert expected.format(port=address.rpartition(":")[2]) in said
    assert "Exception" not in said
    assert "\n" not in said


def test_a_password_in_the_address_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@team:5000")
    said = cause(RuntimeError(f"failed with error code 403 != 200. Response body: '{INVALID_HOST_MSG}'"))
    assert "team:5000" in said
    assert "secret" not in said


def test_a_second_store_in_a_folder_below_is_named(
    tree: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tree.path)
    (tree.path / "mlflow.db").touch()
    assert strays() == []
    (tree.path / "reports/mlflow.db").touch()
    assert strays() == ["reports/mlflow.db"]
    printed = tree.run("python", "-m", "stages.track")
    assert "reports/mlflow.db is a second store, without these runs" in printed
    commit(tree)  # one that is kept on purpose
    assert strays() == []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert strays() == []
