"""`make quick` on a pipeline of one stage; nightly runs it on the real one."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from stages.schema import Params
from tests.conftest import Project, commit
from tests.support.repository import ROOT
from workflow.core.files import read_yaml
from workflow.core.params import load
from workflow.reproduce.quick import shrink

MINI = """stages:
  only:
    cmd: echo {words} > reports/report.html
    deps: [params.yaml]
    outs: [reports/report.html]
"""


def test_the_small_settings_are_valid_and_all_of_them_differ_from_the_real_ones(tmp_path: Path) -> None:
    real, small = read_yaml(ROOT / "params.yaml"), tmp_path / "small.yaml"
    for smallest, members in ((False, {"notebook", "tuned"}), (True, {"notebook"})):
        shutil.copy(ROOT / "params.yaml", small)
        shrink(small, smallest=smallest)
        load(Params, path=small)
        assert set(read_yaml(small)["vae"]) == members
    settings = read_yaml(ROOT / "stages/small.yaml")
    for key in {**settings["small"], **settings["smallest"]}:
        *sections, last = key.split(".")
        before, after = real, read_yaml(small)
        for section in sections:
            before, after = before[section], after.get(section, {})
        assert before[last] != after.get(last) or key == "data.path", key  # it is in git, unlike a user's own


def test_quick_runs_in_its_own_folder_and_changes_nothing_else(tree: Project) -> None:
    (tree.path / "dvc.yaml").write_text(MINI.format(words="small"))
    commit(tree)
    before = {path: path.stat().st_mtime_ns for path in tree.path.rglob("*") if ".git" not in path.parts}
    for _ in range(2):  # the second run replaces the first
        printed = tree.run("python", "-m", "workflow.reproduce.quick")
        report = tree.path / ".quick/reports/report.html"
        assert re.fullmatch(
            rf"quick: passed in \d+ s, with the settings of stages/small.yaml, in {tree.path}/.quick",
            printed.splitlines()[-1],
        )
        assert "[1 of 1] Running stage 'only'\n" in printed
        assert report.read_text() == "small\n"
    assert set(read_yaml(tree.path / ".quick/params.yaml")["vae"]) == {"notebook"}
    ignored = {".git", ".quick", "__pycache__"}
    files = {path for path in tree.path.rglob("*") if path.is_file() and ignored.isdisjoint(path.parts)}
    assert {path: path.stat().st_mtime_ns for path in files} == {
        path: time for path, time in before.items() if path in files
    }
    assert tree.run("git", "status", "--porcelain") == ""


def test_a_failed_quick_run_names_its_folder(tree: Project) -> None:
    (tree.path / "dvc.yaml").write_text(MINI.format(words="$(false"))
    printed = tree.run("python", "-m", "workflow.reproduce.quick", status=1)
    assert f"error: the small pipeline failed in {tree.path / '.quick'} (see above; exit code 255)" in printed
    assert "Traceback" not in printed
