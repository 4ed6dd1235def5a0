"""Progress messages of long runs: number of the stage, its position, and the time left."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.support.repository import ROOT
from workflow.core.files import read_json, read_yaml
from workflow.reproduce.repro import MEASURED, TimeLeft, measured, numbered, rounded
from workflow.runs.project import project

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
        "Stage 'c' didn't change, skipping\nRunning stage 'd':\n> echo d\n\n"
        "To track the changes with git, run:\n\n"
        "\tgit add dvc.lock\n\nTo enable auto staging, run:\n\n\tdvc config core.autostage true\n"
        "Use `dvc push` to send your updates to remote storage.\nERROR: it failed\n"
    )
    assert "".join(numbered(printed.splitlines(keepends=True), 9)) == (
        "Verifying data\n[1 of 9] Running stage 'a'\n"
        "[2 of 9] Stage 'b@x' is cached - skipping run, checking out outputs\n"
        "[3 of 9] Stage 'c' didn't change, skipping\n[4 of 9] Running stage 'd'\n> echo d\nERROR: it failed\n"
    )


KNOWN = {"prepare": 4, "train": 100, "train@b": 40, "report": 6}
ALL = {"prepare", "train@a", "train@b", "report"}


def time_left(certain: set[str], possible: set[str] | None = None, **measured: float) -> TimeLeft:
    return TimeLeft(KNOWN, measured, lambda: (certain, possible or set()))


def test_the_time_left_is_the_sum_of_the_stages_that_remain() -> None:
    left = time_left(ALL)
    assert left.start("prepare", 0) == ", about 2 min left"
    assert left.start("train@a", 4) == ", about 2 min left"
    assert left.start("train@b", 104) == ", about 50 s left", "a member has seconds of its own"
    left.skip("report", 144)
    assert left.measured == {"prepare": 4, "train@a": 100, "train@b": 40}


def test_the_time_left_follows_the_pace_of_the_run() -> None:
    left = time_left({"train@a", "train@b", "report"})
    left.start("train@a", 0)
    # 100 s took 420, and 60 s more count as on time: three times slower, for the 46 s that remain
    assert left.start("train@b", 420) == ", about 2 min left"
    assert left.start("report", 430) == ", about 10 s left"


@pytest.mark.parametrize("content", ["{", "[]", '{"a": "x"}', '{"a": NaN, "b": Infinity, "c": -60, "d": 2}'])
def test_a_damaged_record_of_seconds_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.chdir(tmp_path)
    MEASURED.parent.mkdir()
    MEASURED.write_text(content)
    assert measured() in ({}, {"d": 2.0})


def test_seconds_measured_here_replace_the_known_ones() -> None:
    assert time_left({"train@a", "report"}, report=594).start("train@a", 0) == ", about 12 min left"


def test_stages_that_may_not_have_to_run_make_the_time_left_a_limit() -> None:
    left = time_left({"train@a"}, {"report"})
    assert left.start("train@a", 0) == ", at most about 2 min left"
    assert left.start("report", 100) == ", about 10 s left", "it runs now"


def test_no_time_is_given_where_that_of_a_stage_is_not_known() -> None:
    left = time_left(ALL | {"new"})
    assert left.start("train@a", 0) == ""
    assert left.start("new", 100) == ""
    assert left.start("train@b", 150) == ", about 50 s left"
    assert TimeLeft(KNOWN, {}, lambda: None).start("train@a", 0) == ""


def test_the_time_left_is_never_zero() -> None:
    texts = [rounded(seconds) for seconds in (0, 14, 16, 84, 86, 150.1, 3600)]
    assert texts == ["10 s", "10 s", "20 s", "80 s", "1 min", "3 min", "60 min"]


def test_each_stage_has_its_seconds() -> None:
    known = {name.partition("@")[0] for name in project(ROOT).seconds}
    assert set(read_yaml(ROOT / "dvc.yaml")["stages"]) <= known


PIPELINE = """stages:
  first:
    cmd: cat source > copy
    deps: [source]
    outs: [copy]
  second:
    cmd: cat copy > end
    deps: [copy]
    outs: [end]
"""


def test_make_repro_remembers_the_seconds_of_stages(tree: Project) -> None:
    (tree.path / "dvc.yaml").write_text(PIPELINE)
    (tree.path / "source").write_text("1")
    assert re.findall(r"Running stage.*", tree.run("python", "-m", "workflow.reproduce.repro")) == [
        "Running stage 'first'",
        "Running stage 'second'",
    ]
    assert set(read_json(tree.path / MEASURED)) == {"first", "second"}
    (tree.path / MEASURED).write_text('{"first": 100, "second": 20}')
    (tree.path / "source").write_text("2")
    assert re.findall(r"Running stage.*", tree.run("python", "-m", "workflow.reproduce.repro")) == [
        "Running stage 'first', at most about 2 min left",
        "Running stage 'second', about 10 s left",
    ]
    (tree.path / MEASURED).write_text("damaged")
    (tree.path / "end").unlink()
    printed = tree.run("python", "-m", "workflow.reproduce.repro")
    assert "[1 of 2] Stage 'first' didn't change, skipping\n[2 of 2] " in printed


def test_make_repro_shows_the_number_of_a_stage_and_ends_as_dvc_does(tree: Project) -> None:
    printed = tree.run("python", "-m", "workflow.reproduce.repro", "sample_annuli")
    total = len(re.findall(r"^\[\d+ of (\d+)\] Running stage", printed, re.MULTILINE))
    assert total == 3
    assert "[3 of 30] Running stage" in printed
    assert "git add" not in printed
    tree.edit("  points: 500", "  points: 501")
    printed = tree.run("python", "-m", "workflow.reproduce.repro", status=255)
    assert "annuli.points: 501 is not a multiple of 2" in printed
    assert "`make doctor` looks at what may be wrong here" in printed
    assert "Traceback" not in printed


DOOR = """
import sys
from workflow.core.errors import UserError
from workflow.runs.console import run

def main():
    {}

run(main)
"""


@pytest.mark.parametrize(
    ("code", "status", "printed"),
    [
        ("print('short')", 141, ""),
        ("print('long ' * 100_000)", 141, ""),
        ("sys.exit(print('short') or 3)", 3, ""),
        ("print('short'); raise UserError('it is wrong')", 1, "error: it is wrong\n"),
    ],
)
def test_a_reader_that_leaves_ends_a_program_quietly(
    tmp_path: Path, code: str, status: int, printed: str
) -> None:
    (tmp_path / "door.py").write_text(DOOR.format(code))
    command = [sys.executable, str(tmp_path / "door.py")]
    environment = {"PYTHONPATH": str(ROOT)}
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, env=environment)
    assert (done.returncode, done.stderr) == (status, printed)
    assert subprocess.run(command, stdout=writer, stderr=writer, env=environment).returncode == status
    os.close(writer)
    shell = ["sh", "-c", '"$0" "$1" >&- 2>&-', *command]
    assert subprocess.run(shell, env=environment).returncode == (status if status < 100 else 0)


def test_doctor_and_head_end_quietly(tree: Project) -> None:
    printed = tree.run("bash", "-c", "python -m workflow.doctor | head -1; echo ${PIPESTATUS[0]}")
    assert printed == "ok  stages whose dvc was killed\n141\n"


def test_every_program_ends_by_run() -> None:
    for path in [path for room in ("workflow", "pages") for path in (ROOT / room).rglob("*.py")]:
        _, is_program, end = path.read_text().partition('\nif __name__ == "__main__":\n')
        assert not is_program or end == "    run(main)\n" or path.name == "tracker.py", path
