"""Comparison of variants, and a report of exactly those that params.yaml declares."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from elbo.analysis.differences import paired
from pages.filters import number
from pages.render import environment, render
from stages import render_report
from stages.render_report import TEMPLATES, context
from tests.conftest import Project
from tests.pages.conftest import Render
from workflow.core.arrays import read_npz
from workflow.core.files import read_yaml


def test_differences_are_paired_and_so_are_their_errors() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(-130, 50, 400)  # for both models
    base = {"index": np.arange(400), "elbo": hard - 6, "log_likelihood": hard}
    better = hard + rng.normal(4, 2, 400)
    ours = base | {"elbo": better - 5, "log_likelihood": better}
    found = paired(ours, base)
    gain = better - hard
    assert found["images"] == 400
    assert found["log_likelihood"] == pytest.approx(gain.mean())
    assert found["log_likelihood_se"] == pytest.approx(gain.std(ddof=1) / 20)
    assert (found["inference_gap"], found["inference_gap_se"]) == pytest.approx((-1, 0))
    assert found["elbo"] == pytest.approx(gain.mean() + 1)
    one = {name: values[:1] for name, values in ours.items()}
    assert (paired(one, one)["elbo"], paired(one, one)["elbo_se"]) == (0, None)
    with pytest.raises(ValueError, match="same images"):
        paired(ours | {"index": np.arange(1, 401)}, base)


@pytest.mark.parametrize(
    ("elbo", "exact", "gap", "expected"),
    [
        (5.5, 4.6, -0.9, "is better. Both parts are better: 84 % of the gain is the decoder's"),
        (5.5, 5.4, -0.1, "is better. The gain is the decoder's"),
        (
            5.5,
            9.5,
            4.0,
            "is better. The decoder is better, but the inference gap is larger, which costs 42 %",
        ),
        (
            -4.0,
            6.0,
            10.0,
            "is worse. The decoder is better, but the inference gap is larger, which costs 167 %",
        ),
        (5.5, 0.1, -5.4, "is better. The gain is inference's"),
        (
            0.1,
            0.2,
            0.1,
            "differs by no more than two standard errors. Neither the decoder nor the inference gap",
        ),
        (0.3, 0.19, -0.11, "is better. Neither the decoder nor the inference gap by itself differs"),
        (-5.5, -0.1, 5.4, "is worse. The loss is inference's"),
        (
            -1.0,
            -5.0,
            -4.0,
            "is worse. The decoder is worse, and the inference gap is smaller, which makes up for 80 %",
        ),
        (-5.5, -5.4, 0.1, "is worse. The loss is the decoder's"),
        (-5.0, -4.0, 1.0, "is worse. Both parts are worse: 80 % of the loss is the decoder's"),
    ],
)
def test_gains_are_attributed_by_differences_and_their_errors(
    elbo: float, exact: float, gap: float, expected: str
) -> None:
    pairs = {"elbo": elbo, "log_likelihood": exact, "inference_gap": gap}
    found = {"base": "a", "images": 9, **pairs, **{f"{name}_se": 0.1 for name in pairs}}
    templates, scored = environment(TEMPLATES), {"elbo": {"test": {"images": 9}}}

    def text(names: list[str]) -> str:
        differences = dict.fromkeys(names[1:], found)
        vae = dict.fromkeys(names, scored)
        about: dict[str, Any] = {"names": names, "vae": vae, "differences": differences, "searched": False}
        about |= {"planes": names, "wides": [], "measured": [], "labelled": True}
        macros = {name: lambda *_: "" for name in ("sources", "figure", "see")}
        return " ".join(render(templates, "reflections.md.j2", **about, **macros).split())

    assert f"*b*: the ELBO {expected}" in text(["a", "b"])
    assert f"*c*: the ELBO {expected}" in text(["a", "b", "c"])
    assert f"{number(abs(elbo))} ± 0.10 nats per image" in text(["a", "b"])
    assert "There is one variant here" in text(["a"])


def test_differences_match_the_values_of_the_images(reproduced: Project) -> None:
    data = {}
    for name in ("notebook", "tuned"):
        elbo, exact = (
            read_npz(reproduced.path / f"data/{kind}/{name}.npz") for kind in ("elbo", "likelihood")
        )
        data[name] = elbo["index_test"], elbo["elbo_test"], exact["log_likelihood_test"]
    (index, ours, log_p), (base_index, base, base_log_p) = data["tuned"], data["notebook"]
    assert (index == base_index).all()
    found = json.loads((reproduced.path / "reports/vae_differences.json").read_text())["tuned"]
    gap = (log_p - ours) - (base_log_p - base)
    for name, values in (("elbo", ours - base), ("inference_gap", gap)):
        assert found[name] == pytest.approx(values.mean(), abs=1e-6)
        assert found[f"{name}_se"] == pytest.approx(values.std(ddof=1) / len(values) ** 0.5, abs=1e-6)
    assert found["elbo"] == pytest.approx(found["log_likelihood"] - found["inference_gap"], abs=3e-6)


def rows_of_tables(text: str) -> Iterator[tuple[str, int, int]]:
    """Each table row, its number of cells, and that of the header of its table."""
    head = 0
    for line in text.splitlines():
        if line.startswith("|"):
            cells = line.count("|")
            head = head or cells
            yield line, cells, head
        else:
            head = 0


@pytest.mark.parametrize("variants", [["tuned"], ["notebook", "tuned"], ["tuned", "mine", "notebook"]])
def test_the_report_has_one_column_for_each_declared_variant(
    render_variants: Render, variants: list[str]
) -> None:
    """Files in reports/ of a variant that is no longer in params.yaml are not read."""
    text = (render_variants(variants) / "reports/README.md").read_text()
    for name in ("notebook", "tuned", "mine"):
        assert (f"figures/vae/{name}/samples.png" in text) == (name in variants)
        assert (f"*{name}*" in text) == (name in variants)
    table = list(rows_of_tables(text))
    assert len(table) > 100
    for row, cells, head in table:
        assert cells == head, row


@pytest.mark.parametrize(
    ("elbo", "exact", "gap", "lead", "learned"),
    [
        (
            5.5,
            4.4,
            -1.1,
            "gains 5.50 ± 0.10",
            "80 % of that is a better decoder, the rest a smaller inference gap",
        ),
        (
            5.5,
            5.4,
            -0.1,
            "gains 5.50 ± 0.10",
            "5.50 ± 0.10 nats better than *notebook*, and the gain is the decoder's",
        ),
        (5.5, 0.1, -5.4, "gains 5.50 ± 0.10", "and the gain is a smaller inference gap"),
        (0.1, 0.1, 0.0, "*tuned*, differs by +0.10 ± 0.10", "which is no clear difference"),
        (-0.5, -0.5, 0.0, "*tuned*, loses 0.50 ± 0.10", "No further variant is better than *notebook*."),
    ],
)
def test_the_lead_of_4b_and_what_we_learned_follow_the_differences(
    render_variants: Render,
    monkeypatch: pytest.MonkeyPatch,
    elbo: float,
    exact: float,
    gap: float,
    lead: str,
    learned: str,
) -> None:
    monkeypatch.chdir(render_variants())
    found = context()
    pairs = {"elbo": elbo, "log_likelihood": exact, "inference_gap": gap}
    if elbo < 0:
        found["best"] = "notebook"
    found["differences"]["tuned"] |= pairs | {f"{name}_se": 0.1 for name in pairs}
    text = " ".join(render(environment(TEMPLATES), "report.md.j2", **found).split())
    assert lead in text.partition("4b: how could it be improved? ")[2].partition("Differences are")[0]
    assert learned in text.partition("**What we learned.**")[2].partition("## ")[0]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([-131.2, -131.6, -133.0, -132.0], "All 2 trainings with other settings lie below this range"),
        (
            [-131.2, -131.6, -131.5, -132.0],
            "1 lies in or above this range, so the search does not tell it from",
        ),
        (
            [-131.2, -131.6, -131.5, -131.0],
            "2 lie in or above this range, so the search does not tell them from",
        ),
    ],
)
def test_the_search_is_judged_by_the_spread_over_seeds(
    render_variants: Render, monkeypatch: pytest.MonkeyPatch, changes: list[float], expected: str
) -> None:
    monkeypatch.chdir(render_variants())
    found = context()
    settings: dict[str, Any] = {
        "activation": "gelu",
        "input_dropout": 0.1,
        "lr": 0.002,
        "schedule": "cosine",
        "warmup": 0.02,
        "epochs": 20,
        "images": 10000,
    }
    others: list[dict[str, Any]] = [
        {"seed": 305},
        {"seed": 306},
        {"seed": 305, "lr": 0.001},
        {"seed": 305, "activation": "relu"},
    ]
    found["search"] = [
        {"name": name, **settings, **other, "validation_elbo": value, "validation_elbo_se": 0.5}
        for name, other, value in zip(
            ("tuned", "tuned_306", "slow", "notebook"), others, changes, strict=True
        )
    ]
    templates = environment(TEMPLATES)
    text = " ".join(render(templates, "report.md.j2", **found).split())
    assert "2 seeds of *tuned* reach validation ELBOs from −131.60 to −131.20, a spread of 0.40 nats" in text
    assert expected in text
    assert ("is 2.0 times this spread" in text) == (changes[-1] == -132.0)
    assert ("is no larger than this spread" in text) == (changes[-1] != -132.0)
    assert "On training images held out, 2 seeds of *tuned* differ by at most 0.40 nats ([4b]" in text
    assert (
        "was rejected by its test ELBO, so the test numbers of *tuned* may be slightly optimistic ([4b]"
        in text
    )
    found["search"] = [found["search"][0], *found["search"][2:]]
    text = " ".join(render(templates, "report.md.j2", **found).split())
    assert "Only one seed of *tuned* was trained" in text
    assert "On training images held out" not in text


def test_the_search_is_not_shown_for_other_settings_than_its_own(
    render_variants: Render, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(render_variants())
    params = read_yaml()
    params["vae"]["tuned"]["lr"] = 0.5
    monkeypatch.setattr(render_report, "read_yaml", lambda: params)
    assert "search.png" not in render(environment(TEMPLATES), "report.md.j2", **context())


@pytest.mark.parametrize(
    ("names", "dataset"), [(["notebook", "mine"], None), (["notebook", "tuned"], "kmnist")]
)
def test_the_search_is_shown_only_with_its_variant_and_its_data(
    render_variants: Render, names: list[str], dataset: str | None
) -> None:
    assert "search.png" in (render_variants() / "reports/README.md").read_text()
    assert "search.png" not in (render_variants(names, dataset) / "reports/README.md").read_text()
