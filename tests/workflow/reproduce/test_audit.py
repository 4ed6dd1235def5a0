"""`make audit` names the stages whose outputs depend on the clock, a path, a set's order or the user."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Project, commit, init_git
from workflow.reproduce.audit import first_difference

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
    (project.path / "pyproject.toml").write_text('[tool.workflow]\nschema = "schema:Params"\n')
    (project.path / "params.yaml").write_text("known: 1\n")
    (project.path / "prepare.py").write_text(PREPARE)
    (project.path / "use.py").write_text(USE)
    init_git(project.path)
    project.run("dvc", "init", "-q")
    commit(project)
    return project


def test_stages_that_cause_differences_are_named_but_not_their_dependents(mini: Project) -> None:
    printed = mini.run("python", "-m", "workflow.reproduce.audit", status=1)
    assert "identical  data/clock/one.txt" in printed
    assert "DIFFERS    data/clock/two.txt" in printed
    for name in ("clock", "path", "order", "user"):
        place = (
            f"stage prepare@{name} wrote data/{name}/two.txt differently from equal inputs:\n  line 2, byte "
        )
        assert place in printed
    assert r"line 2, byte 11: b'first line\none\n' and b'first line\nanother-user\n'" in printed
    assert "identical  data/nothing/two.txt" in printed
    assert "stage use" not in printed
    last = printed.splitlines()[-1]
    assert last.startswith("audit: failed, ")
    assert last.endswith("caused by: prepare@clock, prepare@path, prepare@order, prepare@user")


def test_equal_bytes_pass_and_settings_apply_to_both_copies(mini: Project) -> None:
    mini.edit(r"clock, path, order, user, ", "", file="dvc.yaml")
    mini.edit("data/clock", "data/nothing", file="dvc.yaml")
    mini.edit("data/clock", "data/nothing", file="use.py")
    printed = mini.run("python", "-m", "workflow.reproduce.audit", "--one-core", "--set", "known=2")
    assert printed.splitlines()[-1] == (
        "audit: passed, all 3 outputs of two reproductions are identical, byte by byte"
    )
    printed = mini.run("python", "-m", "workflow.reproduce.audit", "--set", "other.key=2", status=1)
    assert "params.yaml has no other.key" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (b"same", b"same", ""),
        (b"a\0b", b"a\0c", r"line 1, byte 2: b'a\x00b' and b'a\x00c'"),
        (b"x,1\ny,2\n", b"x,1\ny,3\n", r"line 2, byte 6: b'x,1\ny,2\n' and b'x,1\ny,3\n'"),
        (b"x\n", b"x\nmore\n", r"line 2, byte 2: b'x\n' and b'x\nmore\n'"),
    ],
)
def test_the_first_difference_is_found(tmp_path: Path, one: bytes, other: bytes, words: str) -> None:
    (tmp_path / "one").write_bytes(one)
    (tmp_path / "other").write_bytes(other)
    assert first_difference(tmp_path / "one", tmp_path / "other") == words
    assert "only the first" in first_difference(tmp_path / "one", tmp_path / "missing")
