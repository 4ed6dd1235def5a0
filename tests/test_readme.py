"""What the README says is so."""

from __future__ import annotations

import re
import subprocess

import pytest

from stages import summary
from tests.closure import ROOT
from tests.conftest import Project

README = (ROOT / "README.md").read_text()


def test_the_table_of_results_is_that_of_the_metrics_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    committed = subprocess.run(
        ["git", "status", "--porcelain", "reports"], capture_output=True, text=True, check=True
    ).stdout
    if committed:
        pytest.skip("reports/ has changed since the last commit; the README speaks of what is committed")
    expected = "\n".join(summary.markdown())
    found = re.search(r"<!-- results -->\n\n(.*?)\n\n<!-- /results -->", README, re.S)
    assert found, "the README has lost the marks around its table"
    assert found[1] == expected, f"the table should be:\n{expected}"
    for name in summary.evaluated()[0]:
        assert summary.line(name) in README


def test_the_lines_that_use_a_model_work(reproduced: Project) -> None:
    code = re.search(r"```python\n(.*?)```", README, re.S)
    assert code
    check = (
        "\nassert q.mean.shape == (5, 2) and x.shape == (16, 784)"
        "\nassert model.encoder(images)[0].shape == (5, 2)\n"
    )
    reproduced.run("python", "-c", code[1] + check)


def test_files_pictures_and_make_targets_that_it_names_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
    makefile = (ROOT / "Makefile").read_text()
    for name in set(re.findall(r"`?make (\w+)`?", README)) - {"it", "Python"}:
        assert re.search(rf"^{name}:", makefile, re.M), name


def test_the_plain_commands_are_those_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert "echo 'dvc repro'; python -m pipeline.reproduce\n" in makefile
    assert "pip install -c constraints.txt -e" in makefile
    assert "\tpytest\n" in makefile


def test_the_graph_has_every_kind_of_stage(reproduced: Project) -> None:
    listed = reproduced.run("dvc", "stage", "list", "--name-only").split()
    graph = README[README.index("flowchart") : README.index("`dvc dag`")]
    for name in listed:
        kind = name.partition("@")[0]
        assert kind in graph, kind


def test_make_help_lists_each_target(tree: Project) -> None:
    printed = tree.run("make", "help")
    for name in (
        "help",
        "repro",
        "quick",
        "test",
        "nightly",
        "slow",
        "lint",
        "check",
        "verify",
        "bench",
        "track",
        "ui",
        "compare",
        "plots",
        "clean",
    ):
        assert f"make {name} " in printed
