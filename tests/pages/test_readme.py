"""The README's numbers, commands, links and graph are correct."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from pages import summary
from tests.conftest import Project
from tests.support.docs import documented
from tests.support.pages import chromium
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
    for row, keys in zip(table[2:5], ("test_end", "log_likelihood", "inference_gap"), strict=True):
        assert row[2:] == [re.sub(r" ± [\d.]+", "", cell) for cell in found[keys].cells], row[0]
    assert {table[2][1]} == set(found["notebook_end"].cells)


def test_the_readme_is_short_and_its_first_lines_say_how_to_reproduce() -> None:
    lines = README.splitlines()
    assert len(lines) <= 150
    assert lines.index("```sh") < 20
    clone, repro = lines[lines.index("```sh") + 1 :][:2]
    assert clone.startswith("git clone ")
    assert repro.startswith("make repro ")


def test_the_first_screen_shows_the_results_and_how_to_reproduce_them(tmp_path: Path) -> None:
    body = MarkdownIt().enable("table").render(README.partition("<img")[0])
    # the text's width, font size and distances as on GitHub
    style = (
        "body { max-width: 838px; margin: 24px auto; font: 16px/1.5 sans-serif } td, th { padding: 6px 13px }"
    )
    (tmp_path / "page.html").write_text(f"<meta charset=utf-8><style>{style}</style>{body}")
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto((tmp_path / "page.html").as_uri())
        shown = [page.get_by_text(text) for text in ("test ELBO", "log p(x), by", "reference", "make repro")]
        boxes = [one.first.bounding_box() for one in shown]
    assert all(box and box["y"] + box["height"] <= 800 for box in boxes)


def test_the_sentences_on_the_gap_and_the_seeds_have_the_numbers_of_the_files() -> None:
    test = json.loads((ROOT / "reports/vae/tuned/likelihood.json").read_text())["test"]
    gaps, text = test["gaps"], " ".join(README.split())
    assert f"Of the {gaps['inference']:.2f} nats that *tuned* misses on a random {gaps['images']:,}" in text
    assert f"recovers {gaps['amortization_share']:.1%}, and".replace("%", " %") in text
    # the best of two starts is nearly exact, so most of what ascent leaves is in the mode
    assert gaps["approximation_of_better_start"] < gaps["approximation"] / 2
    assert f"shape costs only {gaps['approximation_of_better_start']:.2f} nats" in text
    errors = [
        json.loads(path.read_text())[split]["quadrature_error"]
        for path in (ROOT / "reports/vae").glob("*/likelihood.json")
        for split in ("train", "test")
    ]
    assert f"to about {max(errors):.2f} nats per image" in text
    seeds = json.loads((ROOT / "data/notebook_facts.json").read_text())["other_seeds"]
    assert f"end between −{-max(seeds)} and −{-min(seeds)}" in text


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
