"""Faults that `tests.torture` causes: signals and damaged files."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time

import psutil

from tests.conftest import Project
from workflow.core.files import read_yaml


def rewind(project: Project, rng: random.Random) -> None:
    """Resets a complete project to the state before a random stage: later outputs and cache entries go."""
    path = project.path / "dvc.lock"
    stages = read_yaml(path)["stages"]
    names = list(stages)
    start = rng.randrange(len(names))
    for name in names[start:]:
        for out in stages[name].get("outs", []):
            place = project.path / out["path"]
            shutil.rmtree(place) if place.is_dir() else place.unlink()
            cached = project.path / ".dvc/cache/files/md5" / out["md5"][:2] / out["md5"][2:]
            cached.unlink(missing_ok=True)
    # cut as text, since DVC keeps the formatting of the file
    kept, _, _ = path.read_text().partition(f"\n  {names[start]}:\n")
    path.write_text(f"{kept}\n") if start else path.unlink()
    shutil.rmtree(project.path / ".dvc/cache/runs", ignore_errors=True)


def send_signal(process: subprocess.Popen[bytes], kind: str) -> bool:
    """Sends the signal of a kind of fault. Faults that damage files begin with a kill.

    Returns whether the process (or, for a stage, a child process) was running.
    """
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        while kind == "kill stage" and not children and process.poll() is None:  # between two stages
            time.sleep(0.01)
            children = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return False
    if process.poll() is not None:
        return False
    number = {"terminate dvc": signal.SIGTERM, "interrupt": signal.SIGINT}.get(kind, signal.SIGKILL)
    if kind == "interrupt":
        os.killpg(process.pid, number)
        return True
    if kind != "kill stage":
        process.send_signal(number)
    if kind not in ("kill dvc", "terminate dvc"):
        for child in children:
            try:
                child.send_signal(number)
            except psutil.NoSuchProcess:
                continue
    return True


def damage_files(project: Project, kind: str, rng: random.Random) -> str | None:
    """Damages files after the kill; returns a description, or None if there was no such file."""
    if kind == "truncated dvc.lock":
        lock = project.path / "dvc.lock"
        content = lock.read_bytes() if lock.is_file() else b""
        lock.write_bytes(content[: rng.randrange(len(content) + 1)])
        return f", cut to {lock.stat().st_size} of {len(content)} bytes"
    if kind == "broken rwlock":
        path = project.path / ".dvc/tmp/rwlock"
        path.parent.mkdir(exist_ok=True)
        content = path.read_bytes() if path.is_file() else b'{"write": {}}'
        path.write_bytes(content[: rng.randrange(1, len(content))])
        return f", cut to {path.stat().st_size} bytes"
    places = {
        "flipped bit in the cache": ".dvc/cache/files/md5/??/*",
        "output deleted": "data/**/*.npz",
        "output edited": "models/**/*.safetensors",
        "checkpoint damaged": ".work/*/*.safetensors",
    }
    found = sorted(project.path.glob(places[kind])) if kind in places else []
    if not found:
        return None if kind in places else ""
    path = rng.choice(found)
    if kind == "output deleted":
        path.unlink()
    else:
        damaged, mode = bytearray(path.read_bytes()), path.stat().st_mode
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.chmod(0o644)
        path.write_bytes(damaged)
        path.chmod(mode)
    return f", {path.relative_to(project.path)}"
