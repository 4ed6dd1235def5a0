"""Processes that tests start, watch and kill."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil

from tests.conftest import OFFLINE, Project, clean_environment

T = TypeVar("T")


def start_process(project: Project, *command: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, cwd=project.path, env=clean_environment() | OFFLINE | environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """Reads output up to the first line that contains `words`; fails if the process ends before."""
    assert process.stdout
    printed = ""
    for line in process.stdout:
        printed += line
        if words in line:
            return printed
    raise AssertionError(printed)


def read_to_end(process: subprocess.Popen[str]) -> str:
    """Reads the remaining output; the process must exit with 0."""
    assert process.stdout
    printed = process.stdout.read()
    assert process.wait(timeout=600) == 0, printed
    return printed


def set_notebook_epochs(project: Project, epochs: int = 80) -> Project:
    """Gives train_vae@notebook more epochs, so that a test can interrupt it."""
    project.edit(r"(\n  notebook:[\s\S]*?)epochs: 2\b", rf"\1epochs: {epochs}")
    return project


def find_stage(process: subprocess.Popen[str], stage: str) -> psutil.Process:
    """The only descendant that runs a stage; there may be a shell in between."""
    (child,) = find_stages(process, stage)
    return child


def find_stages(process: subprocess.Popen[str], stage: str) -> Iterator[psutil.Process]:
    """All descendants that run `python -m workflow STAGE`."""
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.cmdline()[1:4] == ["-m", "workflow", stage]:
                yield child


def wait_for_items(find: Callable[[], list[T]], seconds: float = 600, count: int = 1) -> list[T]:
    """Calls `find` until it returns at least `count` items; returns them."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = find()
        if len(found) >= count:
            return found
        time.sleep(0.01)
    raise AssertionError(f"fewer than {count} items after {seconds:.0f} s")


def wait_for_checkpoint(project: Project, count: int = 1) -> None:
    wait_for_items(lambda: list(project.path.glob(".work/*/*.safetensors")), count=count)


def complete_folders(parent: Path) -> list[Path]:
    """Complete folders in `parent`; the name of an incomplete one ends with a number as suffix."""
    return [path for path in parent.glob("*") if path.is_dir() and not path.suffix]


def kill_process_tree(process: subprocess.Popen[str]) -> None:
    parent = psutil.Process(process.pid)
    for member in [parent, *parent.children(recursive=True)]:
        member.kill()
    process.communicate(timeout=300)
