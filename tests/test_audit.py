"""`make audit`: a stage that lets the clock, a path or an order into its outputs is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.audit import first_difference
from tests.conftest import Project, commit

MINI = """stages:
  prepare:
    matrix:
      what: [clock, path, order, user, nothing]
    cmd: python prepare.py ${item.what}
    deps: [prepare.py]
    outs: ["data/${item.what}"]
  use:
    cmd: python use.py
    deps: [use.py, data/clock]
    metrics:
      - reports/metrics.json:
          cache: false
"""
PREPARE = """import os, pathlib, sys, time
what = sys.argv[1]
words = {
    "clock": time.time(),
    "path": os.getcwd(),
    "order": "-".join({"alpha", "beta", "gamma", "delta", "epsilon"}),
    "user": os.environ["USER"],
    "nothing": pathlib.Path("params.yaml").read_text().strip(),
}
folder = pathlib.Path("data", what)
folder.mkdir(parents=True)
(folder / "one.txt").write_text("always the same\\n")
(folder / "two.txt").write_text(f"first line\\n{words[what]}\\n")
"""
USE = """import pathlib
text = pathlib.Path("data/clock/two.txt").read_text()
pathlib.Path("reports").mkdir(exist_ok=True)
pathlib.Path("reports/metrics.json").write_text('{"sum": %d}' % sum(text.encode()))
"""


@pytest.fixture
def mini(tmp_path: Path) -> Project:
    project = Project(tmp_path / "mini")
    project.path.mkdir()
    (project.path / "dvc.yaml").write_text(MINI)
    (project.path / "params.yaml").write_text("known: 1\n")
    (project.path / "prepare.py").write_text(PREPARE)
    (project.path / "use.py").write_text(USE)
    project.run("git", "init", "-q", "-b", "main")
    project.run("git", "config", "user.email", "tests@example.org")
    project.run("git", "config", "user.name", "Tests")
    project.run("dvc", "init", "-q")
    commit(project)
    return project


def test_the_stages_that_are_to_blame_are_named_and_those_that_follow_are_not(mini: Project) -> None:
    printed = mini.run("python", "-m", "pipeline.audit", status=1)
    assert "identical  data/clock/one.txt" in printed
    assert "DIFFERS    data/clock/two.txt" in printed
    assert "stage prepare@clock wrote data/clock/two.txt differently from equal inputs:\n  line 2:" in printed
    for looks in ("a clock", "a path", "an order"):
        assert f"({looks}, by its looks)" in printed
    assert "'one' and 'another-user'" in printed
    assert "identical  data/nothing/two.txt" in printed
    assert "stage use" not in printed
    last = printed.splitlines()[-1]
    assert last.startswith("audit: failed, ")
    assert last.endswith("to be mended: prepare@clock, prepare@path, prepare@order, prepare@user")


def test_equal_bytes_pass_and_a_setting_is_that_of_both_copies(mini: Project) -> None:
    mini.edit(r"clock, path, order, user, ", "", file="dvc.yaml")
    mini.edit("data/clock", "data/nothing", file="dvc.yaml")
    mini.edit("data/clock", "data/nothing", file="use.py")
    printed = mini.run("python", "-m", "pipeline.audit", "--one-core", "--set", "known=2")
    assert printed.splitlines()[-1] == (
        "audit: passed, all 3 outputs of two reproductions are identical, byte by byte"
    )
    printed = mini.run("python", "-m", "pipeline.audit", "--set", "other.key=2", status=1)
    assert "params.yaml has no other.key" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (b"same", b"same", ""),
        (b"a\0b", b"a\0c", "from byte 2 of 3 and 3"),
        (b"a\0b", b"a\0bc", "from byte 3 of 3 and 4"),
        (b"x,1\ny,2\n", b"x,1\ny,3\n", "line 2: 'y,2' and 'y,3'"),
        (b"x\ny\n", b"y\nx\n", "line 1: 'x' and 'y' (an order, by its looks)"),
        (b"x\n", b"x\nmore\n", "line 2: '' and 'more'"),
    ],
)
def test_the_first_difference_is_found(tmp_path: Path, one: bytes, other: bytes, words: str) -> None:
    (tmp_path / "one").write_bytes(one)
    (tmp_path / "other").write_bytes(other)
    assert first_difference(tmp_path / "one", tmp_path / "other") == words
    assert "in the first" in first_difference(tmp_path / "one", tmp_path / "missing")
