"""Faults that `tests.torture` lets happen: signals, and damage to files."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time

import psutil

from pipeline.params import read
from tests.conftest import Project


def rewind(project: Project, draw: random.Random) -> None:
    """Takes a complete project back to the moment before some stage, with no memory of what came after."""
    path = project.path / "dvc.lock"
    stages = read(path)["stages"]
    names = list(stages)
    start = draw.randrange(len(names))
    for name in names[start:]:
        for out in stages[name].get("outs", []):
            place = project.path / out["path"]
            shutil.rmtree(place) if place.is_dir() else place.unlink()
            cached = project.path / ".dvc/cache/files/md5" / out["md5"][:2] / out["md5"][2:]
            cached.unlink(missing_ok=True)
    # cut as text: DVC keeps the style of what it finds
    kept, _, _ = path.read_text().partition(f"\n  {names[start]}:\n")
    path.write_text(f"{kept}\n") if start else path.unlink()
    shutil.rmtree(project.path / ".dvc/cache/runs", ignore_errors=True)


def strike(process: subprocess.Popen[bytes], kind: str) -> bool:
    """Sends the signal of a kind of fault; faults that come after a kill begin with one.

    Returns whether the process was there to be hit, and for a stage, whether one was at work.
    """
    try:
        family = psutil.Process(process.pid).children(recursive=True)
        while kind == "kill stage" and not family and process.poll() is None:  # between two stages
            time.sleep(0.01)
            family = psutil.Process(process.pid).children(recursive=True)
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
        for child in family:
            try:
                child.send_signal(number)
            except psutil.NoSuchProcess:
                continue
    return True


def damage(project: Project, kind: str, draw: random.Random) -> str | None:
    """What a kind of fault breaks after the kill; says what. None: there was nothing of that kind."""
    if kind == "truncated dvc.lock":
        lock = project.path / "dvc.lock"
        content = lock.read_bytes() if lock.is_file() else b""
        lock.write_bytes(content[: draw.randrange(len(content) + 1)])
        return f", cut to {lock.stat().st_size} of {len(content)} bytes"
    if kind == "broken rwlock":
        path = project.path / ".dvc/tmp/rwlock"
        path.parent.mkdir(exist_ok=True)
        content = path.read_bytes() if path.is_file() else b'{"write": {}}'
        path.write_bytes(content[: draw.randrange(1, len(content))])
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
    path = draw.choice(found)
    if kind == "output deleted":
        path.unlink()
    else:
        spoilt, mode = bytearray(path.read_bytes()), path.stat().st_mode
        spoilt[draw.randrange(len(spoilt))] ^= 1 << draw.randrange(8)
        path.chmod(0o644)
        path.write_bytes(spoilt)
        path.chmod(mode)
    return f", {path.relative_to(project.path)}"
