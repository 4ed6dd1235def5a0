"""`make quick`, on a pipeline of one stage; nightly runs it on the real one."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.params import load, read
from pipeline.quick import SETTINGS, shrink
from stages.schema import Params
from tests.closure import ROOT
from tests.conftest import Project, commit

MINI = """stages:
  only:
    cmd: echo {words} > reports/report.html
    deps: [params.yaml]
    outs: [reports/report.html]
"""


def test_the_small_settings_are_valid_and_all_of_them_differ_from_the_real_ones(tmp_path: Path) -> None:
    real, small = read(ROOT / "params.yaml"), tmp_path / "small.yaml"
    for smallest, members in ((False, {"notebook", "tuned"}), (True, {"notebook"})):
        shutil.copy(ROOT / "params.yaml", small)
        shrink(small, smallest=smallest)
        load(Params, path=small)
        assert set(read(small)["vae"]) == members
    for key in {**read(SETTINGS)["small"], **read(SETTINGS)["smallest"]}:
        *sections, last = key.split(".")
        before, after = real, read(small)
        for section in sections:
            before, after = before[section], after.get(section, {})
        assert before[last] != after.get(last), key


def test_it_runs_in_a_folder_of_its_own_and_touches_nothing_else(tree: Project) -> None:
    (tree.path / "dvc.yaml").write_text(MINI.format(words="small"))
    (tree.path / "stages/summary.py").write_text("print('the numbers')\n")
    commit(tree)
    before = {path: path.stat().st_mtime_ns for path in tree.path.rglob("*") if ".git" not in path.parts}
    for _ in range(2):  # the second in place of the first
        printed = tree.run("python", "-m", "pipeline.quick")
        report = tree.path / ".quick/reports/report.html"
        assert printed.splitlines()[-1] == f"its report: {report}"
        assert "the numbers\nquick: passed in " in printed
        assert report.read_text() == "small\n"
    assert set(read(tree.path / ".quick/params.yaml")["vae"]) == {"notebook"}
    aside = {".git", ".quick", "__pycache__"}
    files = {path for path in tree.path.rglob("*") if path.is_file() and aside.isdisjoint(path.parts)}
    assert {path: path.stat().st_mtime_ns for path in files} == {
        path: seen for path, seen in before.items() if path in files
    }
    assert tree.run("git", "status", "--porcelain") == ""


def test_where_the_pipeline_fails_it_says_where_to_look(tree: Project) -> None:
    (tree.path / "dvc.yaml").write_text(MINI.format(words="$(false"))
    printed = tree.run("python", "-m", "pipeline.quick", status=1)
    assert f"error: the small pipeline failed in {tree.path / '.quick'} (see above; exit code 255)" in printed
    assert "Traceback" not in printed
