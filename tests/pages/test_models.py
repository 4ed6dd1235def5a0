"""The report, the console and the README's table of wide latents, of data without labels, of own images."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest

from pages import summary
from pages.models import architecture, decoder, measured, objective
from pages.render import rows
from stages import render_report
from tests.pages.conftest import VARIANTS, Render, prepare
from tests.pages.test_variants import rows_of_tables
from tests.support import results

MLP: dict[str, Any] = {"kind": "mlp", "hidden": [512, 256], "residual": False}
CONV: dict[str, Any] = {"kind": "conv", "channels": [32, 64], "hidden": [256]}
TUNED: dict[str, Any] = {
    "seed": 305, "latent": 2, "architecture": MLP, "posterior": "diagonal", "objective": "elbo", "k": 1,
    "input_dropout": 0.1, "lr": 0.002,
}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "plane": {},
    "wide": {"names": ["wide"], "wide": ["wide"]},
    "wide, two": {"names": ["wide", "wider"], "wide": ["wide", "wider"]},
    "mixed": {"names": ["notebook", "tuned", "wide"], "wide": ["wide"]},
    "no labels": {"dataset": "own-faces", "labelled": False},
    "no labels, mixed": {
        "names": ["notebook", "wide"], "wide": ["wide"], "dataset": "own-faces", "labelled": False,
    },
    "no labels, wide": {"names": ["wide"], "wide": ["wide"], "dataset": "own-faces", "labelled": False},
    "no homework": {"homework": False},
    "no homework, no labels": {"homework": False, "labelled": False, "dataset": "own"},
}  # fmt: skip


def text_of(folder: Path) -> str:
    return (folder / "reports/README.md").read_text()


@pytest.mark.parametrize("case", CASES)
def test_the_report_of_any_model_and_data_is_whole(render_variants: Render, case: str) -> None:
    """Each figure is shown once, links lead somewhere, tables are even, sections open with an answer."""
    folder = render_variants(**CASES[case])
    text, reports = text_of(folder), folder / "reports"
    shown = re.findall(r"\]\((figures/[^)]+)\)", text)
    drawn = [str(path.relative_to(reports)) for path in reports.glob("figures/**/*.png")]
    assert sorted(shown) == sorted(drawn)
    page = (reports / "report.html").read_text()
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert f'id="{target[1:]}"' in page if target.startswith("#") else (reports / target).is_file(), (
            target
        )
    for row, cells, head in rows_of_tables(text):
        assert cells == head, row
    for section in re.split(r"^### ", text, flags=re.M)[1:]:
        assert re.search(r"^\*\*[^\n].*?\.\*\*$", section, re.S | re.M), section[:200]
    for broken in ("None)", " None |", "None nats", "{{", "Undefined", "  ,", " .\n", "nan"):
        assert broken not in text.partition("<summary>params.yaml")[0], broken


@pytest.mark.parametrize("case", ["wide", "wide, two", "no labels, wide"])
def test_nothing_of_a_wide_latent_is_called_exact(render_variants: Render, case: str) -> None:
    text = text_of(render_variants(**CASES[case])).partition("### 4c")[0]
    text = text.replace("The KL divergence of the Gaussians is exact", "").replace("figure-plane", "")
    text = text.replace(
        "### 3f: where do the classes overlap in the latent plane?", ""
    )  # the assignment's words
    assert not re.findall(r".*(?:exact|quadrature|plane).*", text, re.I)
    assert "| log p(x), at least (≥, 500 images) | " in text
    assert " ≥ −126.80 ± 0.45 |" in text
    assert "**Log p(x) of *wide* is at least −126.80 ± 0.45 nats per image" in text
    assert "lower bounds, by importance sampling of 500 test images.**" in text


def test_exact_values_and_bounds_stand_beside_each_other_and_are_told_apart(render_variants: Render) -> None:
    text = text_of(render_variants(**CASES["mixed"]))
    assert (
        "| exact log p(x) of the test images, or at least (≥, 500 images) | – | −131.45 ± 0.47 "
        "| −126.80 ± 0.45 | ≥ −126.80 ± 0.45 |" in text
    )
    assert "| inference gap, log p(x) − ELBO | – | 6.72 ± 0.20 | 5.85 ± 0.19 | ≥ 5.85 ± 0.19 |" in text
    assert "it has 20 in *wide*, where log p(x) can only be bounded.**" in text
    assert "- *wide*: the ELBO is better. Log p(x) changes by at least +4.65 ± 0.12." in text
    # the means of log p(x) are of other images
    assert "latent 2, and nothing else differs. The test ELBO changes by +0.00 nats per image; one" in text
    two = text_of(render_variants(["notebook", "wide"], wide=["wide"]))
    assert "| ≥ −126.80 ± 0.45 | ≥ +4.65 ± 0.12 |" in two


def test_the_estimators_of_a_wide_latent_are_listed_with_their_trust(render_variants: Render) -> None:
    text = text_of(render_variants(**CASES["wide"]))
    assert "| IWAE: the encoder's q | *wide* | 1 | 500 | −83.40 ± 0.50 | – | – |" in text
    assert "covariance, and the prior | *wide* | 1,000 | 500 | −78.60 ± 0.50 | 0.50 | 95.0 % |" in text
    assert "| … their distance | 0.60 ± 0.10 |" in text
    assert "bounds the sampler's mean error on simulated images, and says only that." in text


def test_without_labels_the_report_says_so_and_leaves_out_what_needs_them(render_variants: Render) -> None:
    text = text_of(render_variants(**CASES["no labels"]))
    assert "> **These data have no labels.**" in text.partition("<a id=")[0]
    for left_out in ("### The judge", "confidence", "confuse", "By class", "(recall"):
        assert left_out not in text, left_out
    for section in ("3e", "3f"):
        assert "**The data have no labels" in text.partition(f"### {section}")[2].partition("###")[0]
    assert "labels" not in text_of(render_variants()).partition("## Appendix")[0]


def test_own_images_have_their_name_and_no_claims_of_digits(render_variants: Render) -> None:
    text = text_of(render_variants(dataset="own-faces"))
    assert "| own images (faces), 10,000 test images, nats per image |" in text
    assert "The data here are **own images (faces)**" in text
    for claim in ("MNIST", "digit", "ways of writing", "−137.67"):
        assert claim not in text.partition("## Appendix")[0], claim


def test_without_the_homework_its_sections_and_its_data_are_gone(render_variants: Render) -> None:
    text = text_of(render_variants(**CASES["no homework"]))
    headings = re.findall(r"^### (\w+):", text, re.M)
    assert headings == ["3a", "3b", "3c", "3d", "4a", "3e", "3f", "3g", "4b", "4c"]
    assert "annuli" not in text
    assert "## Appendix: the judge\n\n### The judge" in text


def test_a_class_may_have_any_name(committed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"7": "<b>|a", "5": "*_`$x$", "8": "08"}
    folder = tmp_path / "project"
    prepare(committed, folder, VARIANTS, "own-<i>|faces")
    for old, new in names.items():
        results.rename_class(folder / "reports", old, new)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(render_report, "load", lambda *_: None)
    render_report.main()
    page = (folder / "reports/report.html").read_text()
    assert "draws &lt;b&gt;|a too rarely and *_`$x$ too often" in page
    assert "own images (&lt;i&gt;|faces)" in page
    assert "<b>|a" not in page
    assert ">08: 6.3\u00a0%, in the data 9.8\u00a0%</td>" in page
    for table in re.findall(r"<table>(.*?)</table>", page, re.S):
        cells = {len(re.findall(r"<t[dh][ >]", row)) for row in re.findall(r"<tr>(.*?)</tr>", table, re.S)}
        assert len(cells) == 1, table[:300]


def test_names_of_classes_are_text_and_other_columns_numbers(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("class,share,most_often_as\n007,1e1,nan\n1_0,2,\n")
    assert rows(tmp_path / "table.csv") == [
        {"class": "007", "share": 10.0, "most_often_as": "nan"},
        {"class": "1_0", "share": 2, "most_often_as": None},
    ]
    (tmp_path / "table.csv").write_text("share,class\n1\n")
    with pytest.raises(Exception, match="damaged"):
        rows(tmp_path / "table.csv")


def test_settings_in_words() -> None:
    assert architecture(MLP) == "mlp 512–256"
    assert architecture(MLP | {"residual": True}) == "mlp 512–256, residual"
    assert architecture(CONV) == "conv 32–64, hidden 256"
    assert architecture({"kind": "transformer", "heads": 4}) == "transformer 4"
    assert decoder(MLP, "relu") == "256 and 512 units with relu"
    assert decoder(CONV, "relu") == "256 units with relu and transposed convolutions of 64 and 32 channels"
    assert objective(TUNED) == "ELBO"
    assert objective(TUNED | {"objective": "iwae", "k": 10}) == "IWAE, k = 10"


def test_an_idea_is_measured_where_two_variants_differ_in_nothing_else() -> None:
    def found(**settings: Any) -> list[tuple[str, str]]:
        variants = {"tuned": TUNED, "mine": TUNED | {"seed": 1} | settings}
        return [(item["idea"], item["value"]) for item in measured(variants)]

    assert found() == []
    assert found(architecture=CONV) == [("convolutions", "architecture conv 32–64, hidden 256")]
    assert found(architecture=MLP | {"hidden": [512, 512, 256]}) == [
        ("other layers", "architecture mlp 512–512–256")
    ]
    assert found(latent=20) == [("another number of latent dimensions", "latent 20")]
    assert found(objective="iwae", k=10) == [("an importance-weighted objective", "objective iwae, k 10")]
    assert found(input_dropout=0.0) == [("regularization", "input dropout 0.0")]
    assert found(latent=20, architecture=CONV) == []
    assert found(lr=0.1) == []


def test_what_the_notebook_guesses_is_answered_by_variants_that_measure_it(render_variants: Render) -> None:
    changes = {"conv": {"architecture": CONV, "seed": 306}, "full": {"posterior": "full"}}
    text = text_of(render_variants(["tuned", "conv", "full"], changes=changes))
    answer = text.partition("### 4b")[2].partition("### 4c")[0]
    assert "- *Convolutions:* *conv* has architecture conv 32–64, hidden 256 where *tuned* has" in answer
    assert "architecture mlp 512–256, and nothing else but the seed differs." in answer
    assert "- *Another family of posteriors:* *full* has posterior full where *tuned* has" in answer
    assert "has posterior diagonal, and nothing else differs." in answer
    assert "log p(x) by +0.00; one training each." in answer
    assert "Not measured here by itself: a few steps" in answer
    assert "deeper networks and regularization.\n" in answer
    assert "a Gaussian with full covariance in *full*" in text
    assert "L_\\phi(x)^\\top" in text
    assert "None of these is measured here yet.\n\n### 4c" in text_of(render_variants())


def test_the_report_says_how_many_samples_each_objective_takes(render_variants: Render) -> None:
    def sentence(**settings: Any) -> str:
        text = text_of(render_variants(["tuned", "mine"], changes={"mine": settings}))
        return text.partition("The first term takes ")[2].partition("\n\n")[0]

    assert sentence().startswith(
        "one sample of $z = \\mu + \\sigma \\epsilon$ in training, and\n100 in the evaluation"
    )
    assert "$ or $z = \\mu + L \\epsilon$ in training, and" in sentence(posterior="full")
    weighted = sentence(objective="iwae", k=10)
    assert "in training on the ELBO, and" in weighted
    assert weighted.endswith("*mine* ($k = 10$) is trained on that bound.")


def test_the_console_and_the_readme_say_which_values_are_bounds(render_variants: Render) -> None:
    with contextlib.chdir(render_variants(**CASES["mixed"])):
        lines, table = summary.console(), summary.markdown()
    assert lines[0].endswith("log p(x)  nats per image; ≥: at least, by importance sampling")
    assert "exact" not in lines[0]
    assert [line.split()[-1] for line in lines[1:4]] == ["−131.45", "−126.80", "−126.80"]
    assert lines[3].endswith("≥ −126.80")
    assert len({len(line) for line in lines[1:4]}) == 1
    assert any(
        line.startswith("| exact log p(x) of the test images, or at least (≥, 500 images) |")
        for line in table
    )
    with contextlib.chdir(render_variants(**CASES["no labels"])):
        assert "images – (no labels)" in "\n".join(summary.console())
        assert "Classifier `images`: the data have no labels." in summary.markdown()
    with contextlib.chdir(render_variants(**CASES["no homework"])):
        assert "annuli" not in "\n".join([*summary.console(), *summary.markdown()])
