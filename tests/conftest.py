"""Copies of the project in temporary folders, and mirrors that misbehave on 127.0.0.1."""

from __future__ import annotations

import http.server
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

import stages  # noqa: F401  before torch loads: tests compute as the stages do
from pipeline.processor import FIXED, PORTABLE, THREADS
from pipeline.quick import shrink
from tests.closure import ROOT

# A proxy that refuses every connection: the internet is away, 127.0.0.1 is there.
OFFLINE = {
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "no_proxy": "127.0.0.1,localhost",
    "DVC_NO_ANALYTICS": "1",
}

OFF = "none"  # of MLflow: where tracking is another test's


@pytest.hookimpl(trylast=True)  # after marks have left tests out
def pytest_configure() -> None:
    import torch

    torch.set_num_threads(1)  # two workers share two cores


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts tests of the reproduced project last, but one: a worker makes it while the other has the rest.

    Of each kind the slow come first, so that no worker ends with a long one while the other is idle.
    """

    def needing(item: pytest.Item) -> bool:
        return "reproduced" in getattr(item, "fixturenames", ())

    items.sort(key=lambda item: (needing(item), item.get_closest_marker("slow") is None))
    if one := next(filter(needing, items), None):
        items.remove(one)
        items.insert(0, one)


@dataclass(frozen=True)
class Project:
    """A copy of the working tree, committed to a git repository of its own, with small settings."""

    path: Path

    def run(self, *command: str, status: int = 0, **environment: str) -> str:
        """Runs a command here, without internet; returns all that it printed.

        Args:
            status: the exit code to insist on.
        """
        done = subprocess.run(
            command,
            cwd=self.path,
            env=clean_environment() | OFFLINE | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=7200,  # a machine may be busy
        )
        assert done.returncode == status, f"{command} exited with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def repro(self, *arguments: str, **environment: str) -> list[str]:
        """Runs `dvc repro`; returns the stages that ran."""
        printed = self.run("dvc", "repro", *arguments, status=0, **environment)
        return re.findall(r"Running stage '(.*?)'", printed)

    def edit(self, old: str, new: str, file: str = "params.yaml", count: int = 1) -> None:
        """Replaces a regular expression that must be in a file."""
        path = self.path / file
        text, made = re.subn(old, new, path.read_text(), count=count)
        assert made, f"{old} is not in {file}"
        path.write_text(text)

    def copy(self, to: Path) -> Project:
        """The same with its cache, outputs and MLflow store."""
        shutil.copytree(self.path, to, symlinks=True)
        return Project(to)


def clean_environment() -> dict[str, str]:
    """This process's environment without what would steer the project, or what a stage sets for itself."""
    steering = ("mnist_mirror", "mlflow_", "dvc_", "http_proxy", "https_proxy", "no_proxy")
    settings = {*PORTABLE, *THREADS, *FIXED}
    return {
        key: value
        for key, value in os.environ.items()
        if key not in settings and not key.lower().startswith(steering)
    }


def copy_of_tree(to: Path) -> Project:
    """What git has or would take, as it is in the working tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, to / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    project = Project(to)
    project.run("git", "init", "-q", "-b", "main")
    project.run("git", "config", "user.email", "tests@example.org")
    project.run("git", "config", "user.name", "Tests")
    return project


def smallest(to: Path) -> Project:
    """The pipeline of `make quick`: on uci-digits, one member of each matrix; nothing has run."""
    project = copy_of_tree(to)
    shrink(to / "params.yaml", smallest=True)
    # what the members that are left out have made, which no stage makes now
    shutil.rmtree(to / "reports")
    (to / "dvc.lock").unlink()
    return project


def commit(project: Project) -> None:
    project.run("git", "add", "-A")
    project.run("git", "commit", "-q", "-m", "state", "--no-gpg-sign")


@pytest.fixture
def tree(tmp_path: Path) -> Project:
    """The working tree with small settings; nothing has run."""
    project = copy_of_tree(tmp_path / "project")
    shrink(project.path / "params.yaml", smallest=False)
    commit(project)
    return project


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Project:
    """A project that one of the workers makes, for all of them; tests that change it copy it."""
    base = factory.getbasetemp()
    # a worker's folder lies in the session's; without workers the session's own is the place
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        if not (folder / "done").is_file():
            # one message for all that need it, and no second attempt in the folder of the first
            assert not folder.exists(), f"no {name} project: the first test that needed it says why"
            make(folder)
            (folder / ".git" / "info" / "exclude").write_text("/done\n")
            (folder / "done").touch()
    return Project(folder)


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The working tree with small settings after `dvc repro` and `make track`; for all workers."""

    def make(folder: Path) -> None:
        project = copy_of_tree(folder)
        shrink(folder / "params.yaml", smallest=False)
        project.repro()
        commit(project)
        project.run("python", "-m", "stages.track")

    return once(tmp_path_factory, "reproduced", make)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The smallest project, with the two threads that the real one has; reproduced, without MLflow."""

    def make(folder: Path) -> None:
        project = smallest(folder)
        project.edit("threads: 1", "threads: 2")
        project.repro(MLFLOW_TRACKING_URI=OFF)
        commit(project)

    return once(tmp_path_factory, "small", make)


@pytest.fixture
def project(reproduced: Project, tmp_path: Path) -> Project:
    """A copy of the reproduced project, for a test to change."""
    return reproduced.copy(tmp_path / "project")


Answer = Callable[[http.server.BaseHTTPRequestHandler, bytes | None], None]


@pytest.fixture
def mirror() -> Callable[..., AbstractContextManager[str]]:
    """`with mirror(files, answer) as address`: a real HTTP server."""
    return serve


@contextmanager
def serve(files: Mapping[str, bytes], answer: Answer | None = None) -> Iterator[str]:
    """Serves `files` by their paths; `answer` misbehaves, given the handler and the content, if any."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = files.get(self.path.lstrip("/"))
            (answer or send)(self, content)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def send(handler: http.server.BaseHTTPRequestHandler, content: bytes | None) -> None:
    if content is None:
        handler.send_error(404)
        return
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def drip(handler: http.server.BaseHTTPRequestHandler, content: bytes | None) -> None:
    """A byte at a time, for ever."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content or b"")))
    handler.end_headers()
    for byte in content or b"":
        try:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
        except OSError:
            return
        time.sleep(0.05)
