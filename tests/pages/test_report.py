"""The report: every question, numbers from the files, sentences that depend on them, valid links."""

from __future__ import annotations

import fnmatch
import json
import re
from pathlib import Path

import pytest

from pages.render import environment, numbered, render
from stages.render_report import TEMPLATES, context
from tests.conftest import Project
from tests.pages.conftest import Render
from workflow.core.files import read_yaml

QUESTIONS = ("3a", "3b", "3c", "3d", "4a", "3e", "3f", "3g", "4b", "4c", "1a", "1b", "1c", "2a", "2b", "2c")
FOUR = ["notebook", "tuned", "wide", "long_name_of_a_variant"]


def markdown(folder: Path) -> str:
    return (folder / "reports/README.md").read_text()


def test_every_question_of_the_notebook_has_its_section(render_variants: Render) -> None:
    headings = re.findall(r"^### (\w+):", markdown(render_variants()), re.M)
    assert headings == list(QUESTIONS)


@pytest.mark.parametrize("dataset", [None, "uci-digits"])
def test_each_section_opens_with_what_was_asked_and_its_answer_in_one_bold_sentence(
    render_variants: Render, dataset: str | None
) -> None:
    for variants in (["tuned"], ["notebook", "tuned"]):
        sections = re.split(r"^### ", markdown(render_variants(variants, dataset)), flags=re.M)[1:]
        assert len(sections) > len(QUESTIONS)
        for section in sections:
            paragraphs = section.split("\n\n")[1:]
            asked = re.fullmatch(r"\*Asked: [^*\n]+[.?]\*", paragraphs[0])
            assert bool(asked) == (re.match(r"\w+:", section) is not None), section[:200]
            opening = paragraphs[1 if asked else 0]
            assert re.fullmatch(r"\*\*[^\n].*\.\*\*", opening, re.S), section[:200]


def test_the_first_lines_have_the_results_beside_the_references(render_variants: Render) -> None:
    opening = markdown(render_variants()).partition("<a id=")[0]
    for text in ("test ELBO", "| −137.67 |", "exact log p(x)", "recovered by ascent", "`make repro`", " ± "):
        assert text in opening, text
    assert "**What we learned.**" in opening
    assert len(opening.splitlines()) < 26


@pytest.mark.parametrize("variants", [["tuned"], ["notebook", "tuned"], FOUR])
def test_the_text_refers_to_every_figure(render_variants: Render, variants: list[str]) -> None:
    text = markdown(render_variants(variants))
    outside = re.sub(r"^\*Figure .+\*$", "", text, flags=re.M)  # captions
    for anchor in re.findall(r'<a id="(figure-[\w-]+)">', text):
        assert f"](#{anchor})" in outside, anchor


@pytest.mark.parametrize("variants", [["tuned"], ["notebook", "tuned"], FOUR])
def test_figures_are_numbered_in_order_and_references_point_to_them(
    render_variants: Render, variants: list[str]
) -> None:
    text = markdown(render_variants(variants))
    anchors = re.findall(r'<a id="(figure-[\w-]+)"></a>!\[', text)
    captions = re.findall(r"^\*Figure (\d+)\. .+\. Stage `[\w@]+`, from `.+`\.\*$", text, re.M)
    assert captions == [str(place) for place in range(1, len(anchors) + 1)]
    references = re.findall(r"\[Figure (\d+)\]\(#([\w-]+)\)", text)
    assert len(references) > 5
    for shown, anchor in references:
        assert int(shown) == anchors.index(anchor) + 1, anchor
    assert "⟦" not in text
    page = (render_variants(variants) / "reports/report.html").read_text()
    assert re.findall(r'<figure id="([\w-]+)">', page) == anchors
    assert page.count("<figcaption>") == len(anchors)


def test_a_reference_to_a_figure_that_is_not_shown_is_an_error() -> None:
    assert numbered('⟦b⟧ <a id="figure-a"></a>⟦a⟧ <a id="figure-b"></a>') == (
        '2 <a id="figure-a"></a>1 <a id="figure-b"></a>'
    )
    with pytest.raises(KeyError, match="c"):
        numbered('⟦c⟧ <a id="figure-a"></a>')


def test_captions_name_the_stage_that_draws_the_figure_and_files_that_it_reads(
    render_variants: Render,
) -> None:
    folder = render_variants()
    stages = read_yaml(folder / "dvc.yaml")["stages"]
    captions = re.findall(r"^\*Figure \d+\. .+\. Stage `([\w@]+)`, from (.+)\.\*$", markdown(folder), re.M)
    assert captions
    for stage, files in captions:
        described = stages[stage.partition("@")[0]]
        deps = [re.sub(r"\$\{.*?\}", "*", dep) for dep in described.get("do", described)["deps"]]
        for file in re.findall(r"`(.+?)`", files):
            assert any(fnmatch.fnmatch(file, dep) or file.startswith(f"{dep}/") for dep in deps), (
                stage,
                file,
            )


def test_every_figure_is_shown_once(render_variants: Render) -> None:
    folder = render_variants()
    shown = re.findall(r"\]\((figures/[^)]+)\)", markdown(folder))
    drawn = [str(path.relative_to(folder / "reports")) for path in folder.glob("reports/figures/**/*.png")]
    assert sorted(shown) == sorted(drawn)


def test_numbers_match_the_metrics_files(render_variants: Render) -> None:
    folder = render_variants()
    text = markdown(folder)
    for variant in ("notebook", "tuned"):
        results = folder / "reports/vae" / variant
        exact = json.loads((results / "likelihood.json").read_text())["test"]
        seen = json.loads((results / "critique.json").read_text())
        for value in (exact["log_likelihood"], exact["gaps"]["amortization"]):
            assert f"{value:.2f}".replace("-", "−") in text
        assert f"{100 * seen['unsure']:.1f} %" in text


def test_every_link_and_picture_exists(render_variants: Render) -> None:
    folder = render_variants()
    page = (folder / "reports/report.html").read_text()
    for alt, target in re.findall(r"(!?\[[^\]]*\])\(([^)]+)\)", markdown(folder)):
        if target.startswith("#"):
            assert f'id="{target[1:]}"' in page, target
        else:
            assert (folder / "reports" / target).is_file(), target
        assert len(alt) > 10 or not alt.startswith("!"), f"{target} has no alternative text"


def test_without_mnist_the_report_claims_nothing_about_mnist(render_variants: Render) -> None:
    text = markdown(render_variants(dataset="uci-digits"))
    assert "does not apply" in text
    assert "**UCI digits**" in text
    for claim in ("MNIST", "reference's −", "−137.67", "above the reference", "by eye in the", "search.csv"):
        assert claim not in text.partition("## Appendix")[0], claim


def test_with_mnist_the_report_compares_with_the_reference(render_variants: Render) -> None:
    text = markdown(render_variants())
    assert "| −137.67 |" in text
    assert "does not apply" not in text
    assert "seen as overlapping in the reference" in text
    for word in ("nats an image", "undecided", "rightly", " % ±", "| mnist"):
        assert word not in text.partition("<summary>params.yaml")[0], word


def test_sentences_follow_the_numbers(render_variants: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changed metrics change the sentences of the report."""
    monkeypatch.chdir(render_variants())
    found = context()
    templates = environment(TEMPLATES)

    def text() -> str:
        return " ".join(render(templates, "report.md.j2", **found).split())

    ill = found["quadratic"]["ill_conditioned"]
    assert "oscillates: the steepest coordinate changes sign 50 times.**" in text()
    assert "a step multiplies the steepest coordinate by −0.920" in text()
    high = found["quadratic"]["high_dimensional"]
    assert "*What removes it:* a step below 0.0050 (0.0025 was tried, but 0.0099 ends lower)." in text()
    assert "fewest changes of sign have Adagrad and preconditioned by 1/a (1 each)." in text()
    high["comparison"][3]["sign_changes"] = 2
    assert "fewest changes of sign has preconditioned by 1/a (1)." in text()
    high["comparison"][3]["sign_changes"] = 0
    assert "no coordinate ever changes sign with Adagrad (step size 8.0)." in text()
    well = found["quadratic"]["well_conditioned"]["metrics"]
    assert "All curvatures are equal; the largest" in text()
    assert "No coordinate changes sign: a step multiplies each by 0.6800." in text()
    well |= {"condition_number": 2.0, "contraction": [0.5, 0.68]}
    assert "The curvatures differ by a factor of 2 (the condition number); the largest" in text()
    assert "No coordinate changes sign: the factors lie between 0.5000 and 0.6800." in text()
    ill["metrics"]["sign_changes"] = [0, 0]
    ill["metrics"]["contraction"] = [0.98, 0.5]
    assert "No coordinate changes sign: the factors lie between 0.5000 and 0.9800" in text()
    annuli = found["classifier"]["annuli"]["metrics"]
    annuli["accuracy"] = 1.0
    assert "the network separates the classes.**" in text()
    annuli["accuracy"] = 0.97
    assert "the network has not separated the classes.**" in text()
    assert "the likelihood has no maximum" not in text()
    best = found["vae"][found["best"]]
    seen = best["critique"]
    seen["histogram_distance"], seen["histogram_distance_by_chance"] = 0.5, 0.01
    assert "* draws 7 too rarely and 5 too often (" in text()
    seen["histogram_distance"] = 0.01
    assert "* draws each class about as often as the data" in text()
    assert "| none |" in text()
    seen["features"]["samples"] |= {"recall": 0.1, "precision": 0.3}
    assert (
        "**Too few samples of *tuned* look right (precision 30.0 %; training images 84.7 %), but together"
        in text()
    )
    assert "they cover only 10.0 % of the data (recall; training images 88.1 %).**" in text()
    assert "The low recall says" in text()
    assert "Many samples look wrong, but they cover only 10.0 % of the data" in text()
    seen["features"]["samples"]["recall"] = 0.8
    assert "Samples cover 80.0 % of the data" in text()
    assert "and together they cover 80.0 % of the data (recall; training images 88.1 %).**" in text()
    assert "The low recall says" not in text()
    assert "only" not in text().partition("## Appendix")[0].partition("3e:")[2].partition("###")[0]
    gaps = best["likelihood"]["test"]["gaps"]
    assert "gap is nearly all the encoder's: of 6.82 ± 0.55 nats (2,000 random images), refining" in text()
    assert (
        "recovers 83.5 ± 1.6 %, a better mode 15.1 % more; the Gaussian's shape costs only 0.09 nats"
        in text()
    )
    assert (
        "**The encoder causes 98.7 % of the inference gap of *tuned*: of 6.82 ± 0.55 nats per image" in text()
    )
    assert "over all 10,000 the gap is 5.85 ± 0.19. The encoder" in text()
    assert "Most of the rest is the encoder's as well: 6.5 % of the images" in text()
    gaps |= {
        "inference": 4.0,
        "amortization": 1.0,
        "amortization_share": 0.25,
        "amortization_share_se": 0.02,
        "approximation": 3.0,
        "approximation_of_better_start": 2.9,
    }
    assert "Its inference gap is less than half the encoder's: of 4.00 ± " in text()
    assert (
        "recovers 25.0 ± 2.0 %, a better mode 2.5 % more; the Gaussian's shape costs 2.90 nats, 72" in text()
    )
    assert "**The Gaussian's shape causes 72.5 % of the inference gap of *tuned*: of 4.00 ± " in text()
    assert (
        "25.0 ± 2.0 % of the 4.00 nats of the 2,000 images taken apart. Starting at the posterior's mode"
        in text()
    )
    gaps |= {"approximation_of_better_start": 1.0, "images": 10_000}
    assert "gap is mostly the encoder's: of 4.00 ± 0.55 nats (10,000 images), refining" in text()
    assert "These are means over 10,000 test images. The encoder" in text()
    assert "Most of the rest is the encoder's as well" in text()
    price = best["likelihood"]["price"]
    price |= {"images": 4, "reached": 0.75, "steps_median_of_all": 12.5, "times_encoder_at_least": 80.0}
    assert "25 % never got there. Half of all 4 need 12 steps or more. Those that" in text()
    assert "it takes at least 80 times the encoder's work on average" in text()
    price |= {"reached": 0.25, "steps_median_of_all": None}
    assert "Half of all 4 or more would need more steps" in text()
    price |= {"reached": 1.0, "steps_median_of_all": 10.0}
    assert "half of them in 10 steps or fewer: 80 times the encoder's work on average" in text()
    price |= {"reached": 0.0, "steps_median_of_all": None}
    assert "it would take more than 80 times the encoder's work" in text()
    shape = best["likelihood"]["test"]["gap_shape"]
    shape["share_of_worst_10_percent"] = 0.72
    assert "a few images carry most of it" in text()
    assert "A tenth of the images carries 72 % of the gap" in text()
    shape["share_of_worst_10_percent"] = 0.3
    assert "a few images carry most of it" not in text()
    assert "The gap is spread over many images" in text()
    turned = {row["optimizer"]: row for row in ill["rotated"]}
    for row in ill["comparison"]:
        turned[row["optimizer"]]["log10_final_loss"] = row["log10_final_loss"]
    turned["Adam"]["log10_final_loss"] = None
    assert re.search(
        r"Rotated, Adam \([^)]*, rotated diverged\) ends with more than ten times the loss", text()
    )
    turned["Adam"]["log10_final_loss"] = -3.0
    assert "Rotated, no optimizer ends with more than ten times the loss" in text()
    lines = best["interpolations"]["random"]
    lines["largest_step"] = 0.2
    assert "**Yes: on a straight line in *tuned*" in text()
    assert "is on average below 2.5 times an even one, 27.8 % of the path" in text()
    lines["largest_step"] = 0.5
    assert "**No: on a straight line in *tuned*" in text()
    last = best["training"][-1]
    assert (
        "above the reference's −137.67; that is outside the range of 4 seeds of the reference's settings.**"
        in text()
    )
    last["test_elbo"] = -138.0
    assert (
        "below the reference's −137.67; that is within the range of 4 seeds of the reference's settings.**"
        in text()
    )
    assert "*tuned* ends 0.33 nats below the reference." in text()
    found["dataset"] = found["dataset"] | {"fallback_for": "mnist"}
    assert "**These are not the numbers of MNIST.**" in text()


def test_a_changed_template_reruns_only_the_report(project: Project) -> None:
    first = (project.path / "pages/templates/summary.md.j2").read_text().partition("\n")[0]
    project.edit(first, "# Measured", "pages/templates/summary.md.j2")
    assert set(project.repro()) == {"render_report"}
    assert markdown(project.path).startswith("# Measured\n")
    assert "<title>Measured</title>" in (project.path / "reports/report.html").read_text()
