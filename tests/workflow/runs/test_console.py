"""Progress messages of long runs: number of the stage, its position, and the time left."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import Project
from tests.support.repository import ROOT
from workflow.reproduce.repro import numbered

STAGE = """
import threading
from workflow.runs import console

console.SILENCE = 0.01
lines = []
added = threading.Condition()

def record(line):
    with added:
        lines.append(line)
        added.notify_all()

console.say = record

def wait_for(words):
    with added:
        assert added.wait_for(lambda: any(words in line for line in lines), 600), lines

def epochs():
    wait_for("running for")
    for number in range(1, 4):
        wait_for(f"epoch {number} of 3")
        yield number

def main(member):
    for _ in console.progress(epochs(), total=3, label="x", unit="epoch"):
        pass
    for part in console.progress(("samples", "features"), total=2, label="x", unit="part"):
        wait_for(f"part {1 + (part == 'features')} of 2, {part}")
    print(*lines, sep="\\n")
"""


def test_a_silent_stage_reports_its_position_and_the_time_left(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/__init__.py").touch()
    (tmp_path / "stages/train_x.py").write_text(STAGE)
    command = [sys.executable, "-m", "workflow", "train_x", "tuned"]
    printed = subprocess.check_output(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, text=True)
    assert re.search(r"train_x@tuned: running for \d+ s, epoch 2 of 3, about \d+ s left\n", printed)


def test_the_lines_of_make_repro_are_numbered_and_leave_out_hints() -> None:
    printed = (
        "Verifying data\n\nRunning stage 'a':\n> python -m workflow a\nGenerating lock file 'dvc.lock'\n"
        "Updating lock file 'dvc.lock'\n\nStage 'b@x' is cached - skipping run, checking out outputs\n\n\n"
        "Stage 'c' didn't change, skipping\nRunning stage 'd':\n\nTo track the changes with git, run:\n\n"
        "\tgit add dvc.lock\n\nTo enable auto staging, run:\n\n\tdvc config core.autostage true\n"
        "Use `dvc push` to send your updates to remote storage.\nERROR: it failed\n"
    )
    assert "".join(numbered(printed.splitlines(keepends=True), 9)) == (
        "Verifying data\n[1 of 9] Running stage 'a':\n> python -m workflow a\n"
        "[2 of 9] Stage 'b@x' is cached - skipping run, checking out outputs\n"
        "[3 of 9] Stage 'c' didn't change, skipping\n[4 of 9] Running stage 'd':\nERROR: it failed\n"
    )


def test_make_repro_shows_the_number_of_a_stage_and_ends_as_dvc_does(tree: Project) -> None:
    printed = tree.run("python", "-m", "workflow.reproduce.repro", "sample_annuli")
    total = len(re.findall(r"^\[\d+ of (\d+)\] Running stage", printed, re.MULTILINE))
    assert total == 3
    assert "[3 of 2" in printed
    assert "git add" not in printed
    tree.edit("  points: 500", "  points: 501")
    printed = tree.run("python", "-m", "workflow.reproduce.repro", status=255)
    assert "annuli.points: 501 is not a multiple of 2" in printed
    assert "`make doctor` looks at what may be wrong here" in printed
    assert "Traceback" not in printed
