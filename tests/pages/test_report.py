"""The report: every question, numbers from the files, sentences that depend on them, valid links."""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pages.filters import clear, collapsed, extreme, number, power, share, words
from pages.render import environment, gather, render, to_html
from stages.render_report import TEMPLATES, context
from tests.conftest import Project
from tests.support.repository import ROOT

QUESTIONS = ("1a", "1b", "1c", "2a", "2b", "2c", "3a", "3b", "3c", "3d", "3e", "3f", "3g", "4a", "4b", "4c")


def markdown(project: Project) -> str:
    return (project.path / "reports/README.md").read_text()


def test_every_question_of_the_notebook_has_its_section(reproduced: Project) -> None:
    headings = re.findall(r"^### (\w+):", markdown(reproduced), re.M)
    assert [name for name in headings if name in QUESTIONS] == list(QUESTIONS)


def test_numbers_match_the_metrics_files(reproduced: Project) -> None:
    text = markdown(reproduced)
    for variant in ("notebook", "tuned"):
        folder = reproduced.path / "reports/vae" / variant
        exact = json.loads((folder / "likelihood.json").read_text())["test"]
        seen = json.loads((folder / "critique.json").read_text())
        for value in (exact["log_likelihood"], exact["gaps"]["amortization"]):
            assert f"{value:.2f}".replace("-", "−") in text
        assert f"{100 * seen['unsure']:.1f} %" in text


def test_every_link_and_picture_exists(reproduced: Project) -> None:
    for alt, target in re.findall(r"(!?\[[^\]]*\])\(([^)]+)\)", markdown(reproduced)):
        assert (reproduced.path / "reports" / target).is_file(), target
        assert len(alt) > 10 or not alt.startswith("!"), f"{target} has no alternative text"


def test_without_mnist_the_report_claims_nothing_about_mnist(reproduced: Project) -> None:
    text = markdown(reproduced)
    assert "does not apply" in text
    assert "**uci-digits**" in text
    for claim in (
        "the reference's -",
        "the reference's −",
        "−137.67",
        "What the notebook saw by eye",
        "read by eye",
    ):
        assert claim not in text, claim


def test_the_committed_report_compares_with_the_reference() -> None:
    # from HEAD: after a run on the stand-in the working directory has another report
    text = subprocess.run(
        ["git", "show", "HEAD:reports/README.md"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    ).stdout
    assert "| −137.67 |" in text
    assert "does not apply" not in text
    assert "What the notebook saw by eye" in text


def test_sentences_follow_the_numbers(reproduced: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changed metrics change the sentences of the report."""
    monkeypatch.chdir(reproduced.path)
    found = context()
    templates = environment(TEMPLATES)

    def text() -> str:
        return " ".join(render(templates, "report.md.j2", **found).split())

    ill = found["quadratic"]["ill_conditioned"]
    assert "**Why it oscillates:** a step multiplies the steepest coordinate by −0.920" in text()
    ill["metrics"]["sign_changes"] = [0, 0]
    ill["metrics"]["contraction"] = [0.98, 0.5]
    assert "No coordinate changes sign: the factors lie between 0.5000 and 0.9800" in text()
    annuli = found["classifier"]["annuli"]["metrics"]
    annuli["accuracy"] = 1.0
    assert "So the classes are separated" in text()
    annuli["accuracy"] = 0.97
    assert "So the network has not separated the classes" in text()
    seen = found["vae"]["notebook"]["critique"]
    seen["histogram_distance"], seen["histogram_distance_by_chance"] = 0.5, 0.01
    loud = text()
    seen["histogram_distance"] = 0.01
    assert "*Rare:* none." not in loud.partition("**tuned**")[0].partition("3e:")[2]
    assert "*Rare:* none. 1.0 % of the samples" in text()
    gaps = found["vae"]["notebook"]["likelihood"]["test"]["gaps"]
    gaps |= {
        "inference": 4.0,
        "amortization": 1.0,
        "amortization_share": 0.25,
        "amortization_share_se": 0.02,
        "approximation": 3.0,
        "approximation_of_better_start": 2.9,
    }
    assert (
        "25.0 % ± 2.0 % is the price of amortization. Starting at the posterior's mode changes little"
        in text()
    )
    gaps["approximation_of_better_start"] = 0.1
    assert "most of the Gaussian's part is the encoder's as well" in text()
    price = found["vae"]["notebook"]["likelihood"]["price"]
    price |= {"images": 4, "reached": 0.75, "steps_median_of_all": 12.5, "times_encoder_at_least": 80.0}
    assert "25 % never got there. Half of all 4 need 12 steps or more. Those that" in text()
    assert "it takes at least 80 times the encoder's work on average" in text()
    price |= {"reached": 0.25, "steps_median_of_all": None}
    assert "Half of all 4 or more would need more steps" in text()
    price |= {"reached": 1.0, "steps_median_of_all": 10.0}
    assert "half of them in 10 steps or fewer: 80 times the encoder's work on average" in text()
    price |= {"reached": 0.0, "steps_median_of_all": None}
    assert "it would take more than 80 times the encoder's work" in text()
    shape = found["vae"]["notebook"]["likelihood"]["test"]["gap_shape"]
    shape["share_of_worst_10_percent"] = 0.72
    assert "a few images carry most of it" in text()
    shape["share_of_worst_10_percent"] = found["vae"]["tuned"]["likelihood"]["test"]["gap_shape"][
        "share_of_worst_10_percent"
    ] = 0.3
    assert "a few images carry most of it" not in text()
    turned = {row["optimizer"]: row for row in ill["rotated"]}
    for row in ill["comparison"]:
        turned[row["optimizer"]]["log10_final_loss"] = row["log10_final_loss"]
    turned["Adam"]["log10_final_loss"] = None
    assert re.search(
        r"Rotated, Adam \([^)]*, rotated diverged\) ends with more than ten times the loss", text()
    )
    turned["Adam"]["log10_final_loss"] = -3.0
    assert "Rotated, no optimizer ends with more than ten times the loss" in text()
    found["dataset"] = found["dataset"] | {"fallback_for": "mnist"}
    assert "**These are not the numbers of mnist.**" in text()


def test_a_changed_template_reruns_only_the_report(project: Project) -> None:
    project.edit("What the notebook describes, measured", "Measured", file="pages/templates/report.md.j2")
    assert set(project.repro()) == {"render_report"}
    assert markdown(project).startswith("# Measured\n")
    assert "<title>Measured</title>" in (project.path / "reports/report.html").read_text()


def test_a_missing_name_or_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "page.j2").write_text("{{ metrics.elbow }}")
    with pytest.raises(Exception, match="elbow"):
        render(environment(tmp_path), "page.j2", metrics={"elbo": 1.0})
    with pytest.raises(FileNotFoundError):
        to_html("![a picture](missing.png)", tmp_path)
    with pytest.raises(FileNotFoundError):
        gather(tmp_path, ["missing"], ["metrics.json"])


def test_numbers_are_typeset() -> None:
    assert number(-1234.567) == "−1,234.57"
    assert number(0.5, 1, sign=True) == "+0.5"
    assert number(None) == share(None) == "–"
    assert share(0.1234) == "12.3 %"
    assert power(-1.524307) == "0.030"
    assert power(-44.220797) == "6.0·10⁻⁴⁵"
    assert power(-300.0) == "0"
    assert power(None) == "diverged"
    assert words(["a"]) == "a"
    assert words(["a", "b", "c"]) == "a, b and c"
    assert collapsed([9, 9, 4, 4, 9]) == [9, 4, 9]
    assert [clear(value, 0.1) for value in (0.3, 0.2, 0.0, -0.2, -0.3)] == [1, 0, 0, 0, -1]
    table: list[dict[str, Any]] = [{"a": 1, "b": 10}, {"a": 2, "b": 40}, {"a": None, "b": 1}]
    assert extreme(table, "a") == table[1]
    assert extreme(table, "a", "b", least=True) == table[1]


def test_formulas_become_mathml_and_pictures_are_inlined(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(b"\x89PNG")
    body, sections = to_html('## A "title"\n\n$x_k$\n\n![two "words"](one.png)\n', tmp_path)
    assert "<math" in body
    assert "<msub>" in body
    assert 'src="data:image/png;base64,iVBORw=="' in body
    assert html.unescape(re.findall(r'alt="([^"]*)"', body)[0]) == 'two "words"'
    assert [name for _, name in sections] == ['A "title"']
