"""Runs `make doctor` and damages files for it to find."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Project
from workflow.core.files import read_yaml


def run_doctor(project: Project, status: int = 0) -> str:
    """Runs the doctor, which must end with this exit code; returns its output."""
    printed = project.run("python", "-m", "workflow.doctor", status=status)
    assert "Traceback" not in printed
    return printed


def cached_object(project: Project, path: str) -> Path:
    """The path of an output's object in DVC's cache."""
    stages = read_yaml(project.path / "dvc.lock")["stages"].values()
    (sum_,) = {out["md5"] for stage in stages for out in stage.get("outs", []) if out["path"] == path}
    return project.path / ".dvc/cache/files/md5" / sum_[:2] / sum_[2:]


def flip_bit(path: Path) -> None:
    """Flips a bit in the middle of a file; keeps the file mode."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(mode)
