"""The README's numbers, commands, links and graph are correct."""

from __future__ import annotations

import itertools
import re
import subprocess

import pytest

from pages import summary
from tests.conftest import Project
from tests.support.docs import documented
from tests.support.repository import ROOT
from workflow.runs import dvc_repo

README = (ROOT / "README.md").read_text()


def test_the_results_table_matches_the_metrics_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    committed = subprocess.run(
        ["git", "status", "--porcelain", "reports"], capture_output=True, text=True, check=True
    ).stdout
    if committed:
        pytest.skip("reports/ has changed since the last commit; the README gives committed results")
    expected = "\n".join(summary.markdown())
    found = re.search(r"<!-- results -->\n\n(.*?)\n\n<!-- /results -->", README, re.S)
    assert found, "the README has no marks around its table"
    assert found[1] == expected, f"the table should be:\n{expected}"
    assert "\n".join(summary.console()) in README


def test_the_first_table_has_the_numbers_of_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    vae, found = summary.read_results()
    table = [
        re.split(r" *\| *", line.replace("*", ""))[1:-1] for line in README.splitlines() if line[:1] == "|"
    ]
    assert table[0][2:] == list(vae)
    for row, keys in zip(table[2:5], ("test_end", "log_likelihood", "amortization_share"), strict=True):
        assert row[2:] == [re.sub(r" ± [\d.]+", "", cell) for cell in found[keys].cells], row[0]
    assert {table[2][1]} == set(found["notebook_end"].cells)


def test_the_readme_is_short_and_its_first_lines_say_how_to_reproduce() -> None:
    lines = README.splitlines()
    assert len(lines) <= 150
    assert lines.index("```sh") < 20
    assert lines[lines.index("```sh") + 1].startswith("make repro ")


def test_the_plain_commands_match_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert "echo 'dvc repro'; python -m workflow.reproduce.repro\n" in makefile
    assert "pip install -c constraints.txt -e" in makefile
    assert "\tpytest\n" in makefile
    assert documented("pip install -c constraints.txt -e '.[test]'").split("-e")[0] in makefile


def test_the_graph_has_every_kind_of_stage_and_its_arrows_are_dependencies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    with dvc_repo.repository() as repo:
        earlier: dict[str, set[str]] = {}
        for stage in repo.index.stages:
            names = {item.name.partition("@")[0] for item in dvc_repo.ancestors(repo, stage)}
            earlier.setdefault(stage.name.partition("@")[0], set()).update(names)
    graph = README[README.index("flowchart LR") : README.index("## Repository layout")]
    kinds = dict(re.findall(r'(\w+)\["(\w+)@', graph))
    drawn = set()
    for line in re.sub(r'\[".*?"\]', "", graph).splitlines():
        groups = [[kinds.get(node, node) for node in re.findall(r"\w+", part)] for part in line.split("-->")]
        for before, after in itertools.pairwise(groups):
            assert all(one in earlier[other] for one in before for other in after), line
            drawn |= {*before, *after}
    assert drawn == earlier.keys()


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
