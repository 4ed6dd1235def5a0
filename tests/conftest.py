"""Copies of the project in temporary folders, and HTTP servers on 127.0.0.1."""

from __future__ import annotations

import http.server
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.support.repository import ROOT
from workflow.core import processor
from workflow.core.processor import FIXED, PORTABLE, THREADS
from workflow.reproduce.quick import shrink

processor.apply()  # before torch loads: tests compute as the stages do

# A proxy that refuses every connection: no internet, but 127.0.0.1 works.
OFFLINE = {
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "no_proxy": "127.0.0.1,localhost",
    "DVC_NO_ANALYTICS": "1",
}

NO_TRACKING = "none"  # the MLflow tracking URI that turns tracking off


def pytest_configure() -> None:
    import torch

    torch.set_num_threads(1)  # two workers share two cores


@pytest.hookimpl(trylast=True)  # after tests are deselected by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs one test of the reproduced project first and the others last.

    One worker makes that project while the other runs the remaining tests. Slow tests come first in each
    group, so that no worker is idle at the end.
    """

    def needs_reproduced(item: pytest.Item) -> bool:
        return "reproduced" in getattr(item, "fixturenames", ())

    items.sort(key=lambda item: (needs_reproduced(item), item.get_closest_marker("slow") is None))
    if first := next(filter(needs_reproduced, items), None):
        items.remove(first)
        items.insert(0, first)


@dataclass(frozen=True)
class Project:
    """A copy of the working tree in its own git repository, with small settings."""

    path: Path

    def run(self, *command: str, status: int = 0, **environment: str) -> str:
        """Runs a command in the project, without internet; returns stdout and stderr.

        Args:
            status: the expected exit code.
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
        """Replaces matches of a regular expression in a file; there must be at least one."""
        path = self.path / file
        text, replaced = re.subn(old, new, path.read_text(), count=count)
        assert replaced, f"{old} is not in {file}"
        path.write_text(text)

    def copy(self, to: Path) -> Project:
        """A copy of the project with its cache, outputs and MLflow store."""
        shutil.copytree(self.path, to, symlinks=True)
        return Project(to)


def clean_environment() -> dict[str, str]:
    """This process's environment without variables that affect the project or that a stage sets itself."""
    prefixes = ("mnist_mirror", "mlflow_", "dvc_", "http_proxy", "https_proxy", "no_proxy", "make")
    settings = {*PORTABLE, *THREADS, *FIXED}
    return {
        key: value
        for key, value in os.environ.items()
        if key not in settings and not key.lower().startswith(prefixes)
    }


def copy_working_tree(to: Path) -> Project:
    """Copies the files of the working tree that git does not ignore into a new git repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, to / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    return init_git(to)


def init_git(folder: Path) -> Project:
    """Makes a folder a git repository, with nothing committed."""
    project = Project(folder)
    project.run("git", "init", "-q", "-b", "main")
    project.run("git", "config", "user.email", "tests@example.org")
    project.run("git", "config", "user.name", "Tests")
    return project


def small_pipeline(folder: Path, files: Mapping[str, str]) -> Project:
    """A new folder with these files, a pipeline of DVC, after `dvc repro`; committed."""
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    project = init_git(folder)
    project.run("dvc", "init", "-q")
    project.repro()
    commit(project)
    return project


def copy_smallest(to: Path) -> Project:
    """Copies the pipeline of `make quick`: uci-digits, one member of each matrix; no stage has run."""
    project = copy_working_tree(to)
    shrink(to / "params.yaml", smallest=True)
    # results of removed members, which no stage makes now
    shutil.rmtree(to / "reports")
    (to / "dvc.lock").unlink()
    return project


def commit(project: Project) -> None:
    project.run("git", "add", "-A")
    project.run("git", "commit", "-q", "-m", "state", "--no-gpg-sign")


@pytest.fixture
def tree(tmp_path: Path) -> Project:
    """The working tree with small settings; no stage has run."""
    project = copy_working_tree(tmp_path / "project")
    shrink(project.path / "params.yaml", smallest=False)
    commit(project)
    return project


def make_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Project:
    """A project that one worker makes for all workers; tests that change it must copy it."""
    base = factory.getbasetemp()
    # a worker's folder is inside the session's folder; without workers, use the session's folder
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        if not (folder / "done").is_file():
            # if the first attempt failed, do not try again in its folder
            assert not folder.exists(), f"no {name} project: see the error of the first test that needed it"
            make(folder)
            (folder / ".git" / "info" / "exclude").write_text("/done\n")
            (folder / "done").touch()
    return Project(folder)


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The working tree with small settings after `dvc repro` and `make track`; shared by all workers."""

    def make(folder: Path) -> None:
        project = copy_working_tree(folder)
        shrink(folder / "params.yaml", smallest=False)
        project.repro()
        commit(project)
        project.run("python", "-m", "workflow.tracking")

    return make_once(tmp_path_factory, "reproduced", make)


@pytest.fixture(scope="session")
def smallest_reproduced(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The smallest project after `dvc repro`, with two threads as in the real one, without MLflow."""

    def make(folder: Path) -> None:
        project = copy_smallest(folder)
        project.edit("threads: 1", "threads: 2")
        project.repro(MLFLOW_TRACKING_URI=NO_TRACKING)
        commit(project)

    return make_once(tmp_path_factory, "smallest", make)


@pytest.fixture
def project(reproduced: Project, tmp_path: Path) -> Project:
    """A copy of the reproduced project that a test may change."""
    return reproduced.copy(tmp_path / "project")


Answer = Callable[[http.server.BaseHTTPRequestHandler, bytes | None], None]


@pytest.fixture
def mirror() -> Callable[..., AbstractContextManager[str]]:
    """`with mirror(files, answer) as address`: a real HTTP server."""
    return serve


@contextmanager
def serve(files: Mapping[str, bytes], answer: Answer | None = None) -> Iterator[str]:
    """Serves `files` by path over HTTP; yields the address.

    Args:
        answer: replaces `send`, to simulate faults; gets the handler, and the content or None.
    """

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
