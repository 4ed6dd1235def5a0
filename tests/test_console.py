"""What a person sees while it takes long: which stage of how many, what is done, how long it takes yet."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo

from pipeline import guard
from pipeline.reproduce import numbered
from tests.closure import ROOT
from tests.conftest import Project

STAGE = """
import sys, threading
from pipeline import console

console.SILENCE = 0.01
lines, first = [], threading.Event()
say = console.say
heard = threading.Condition()

def listen(line):
    with heard:
        lines.append(line)
        heard.notify_all()

console.say = listen

def until(words):
    with heard:
        assert heard.wait_for(lambda: any(words in line for line in lines), 600), lines

def epochs():
    until("at work")
    for number in range(1, 4):
        until(f"epoch {number} of 3")
        yield number

def main():
    for _ in console.progress(epochs(), total=3, label="x", unit="epoch"):
        pass
    for part in console.progress(("samples", "features"), total=2, label="x", unit="part"):
        until(f"part {1 + (part == 'features')} of 2, {part}")
    print(*lines, sep="\\n")

console.run(main)
"""


def test_a_stage_that_is_silent_says_what_it_is_at_and_what_is_left(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    script = tmp_path / "stages/train_x.py"
    script.write_text(STAGE)
    command = [sys.executable, str(script), "tuned"]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True, check=True
    )
    assert re.search(r"train_x@tuned: at work for \d+ s, epoch 2 of 3, about \d+ s left\n", done.stdout)


def test_the_lines_of_make_repro_are_numbered_and_leave_out_hints() -> None:
    said = (
        "Verifying data\n\nRunning stage 'a':\n> python -m stages.a\nGenerating lock file 'dvc.lock'\n"
        "Updating lock file 'dvc.lock'\n\nStage 'b@x' is cached - skipping run, checking out outputs\n\n\n"
        "Stage 'c' didn't change, skipping\nRunning stage 'd':\n\nTo track the changes with git, run:\n\n"
        "\tgit add dvc.lock\n\nTo enable auto staging, run:\n\n\tdvc config core.autostage true\n"
        "Use `dvc push` to send your updates to remote storage.\nERROR: it failed\n"
    )
    assert "".join(numbered(said.splitlines(keepends=True), 9)) == (
        "Verifying data\n\n[1 of 9] Running stage 'a':\n> python -m stages.a\n\n"
        "[2 of 9] Stage 'b@x' is cached - skipping run, checking out outputs\n\n"
        "[3 of 9] Stage 'c' didn't change, skipping\n[4 of 9] Running stage 'd':\n\nERROR: it failed\n"
    )


def test_the_guard_knows_the_stages_that_dvc_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with Repo(".") as repo:
        assert sorted(guard.stages()) == sorted(stage.addressing for stage in repo.index.stages)


def test_make_repro_shows_the_number_of_a_stage_and_ends_as_dvc_does(tree: Project) -> None:
    printed = tree.run("python", "-m", "pipeline.reproduce", "sample_annuli")
    total = len(re.findall(r"^\[\d+ of (\d+)\] Running stage", printed, re.MULTILINE))
    assert total == 3
    assert "[3 of 2" in printed
    assert "git add" not in printed
    tree.edit("  points: 500", "  points: 501")
    printed = tree.run("python", "-m", "pipeline.reproduce", status=255)
    assert "annuli.points: 501 is not a multiple of 2" in printed
    assert "`make doctor` looks at what may be wrong here" in printed
    assert "Traceback" not in printed
