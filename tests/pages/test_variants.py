"""Comparison of variants, and a report of exactly those that params.yaml declares."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from elbo.analysis.differences import paired
from pages.filters import number
from pages.render import environment, gather, render
from stages import render_report
from stages.render_report import TEMPLATES, context
from tests.conftest import Project
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
    assert paired(one, one)["elbo_se"] == 0
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
        about: dict[str, Any] = {"names": names, "vae": vae, "differences": differences}
        return " ".join(render(templates, "reflections.md.j2", **about, sources=lambda *_: "").split())

    assert f"*b*: the ELBO {expected}" in text(["a", "b"])
    assert f"*c*: the ELBO {expected}" in text(["a", "b", "c"])
    assert f"| *b* | {number(elbo, sign=True)} ± 0.10 |" in text(["a", "b"])
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
    reproduced: Project, monkeypatch: pytest.MonkeyPatch, variants: list[str]
) -> None:
    """Files in reports/ of a variant that is no longer in params.yaml are not read."""
    monkeypatch.chdir(reproduced.path)
    params = read_yaml()
    kept = {name: params["vae"].get(name, params["vae"]["tuned"]) for name in variants}
    monkeypatch.setattr(render_report, "read_yaml", lambda: params | {"vae": kept})
    folders = {"mine": "tuned"}  # a third variant, as its stages would have made it
    monkeypatch.setattr(
        render_report,
        "gather",
        lambda folder, names, files: {
            name: gather(folder, [folders.get(name, name)], files)[folders.get(name, name)] for name in names
        },
    )
    found = context()
    found["differences"] = dict.fromkeys(variants[1:], found["differences"]["tuned"])
    text = render(environment(TEMPLATES), "report.md.j2", **found | {"params_text": ""})
    for name in ("notebook", "tuned", "mine"):
        assert (f"figures/vae/{name}/samples.png" in text) == (name in variants)
        assert (f"*{name}*" in text.replace("*notebook* is this project's", "")) == (name in variants)
    table = list(rows_of_tables(text))
    assert len(table) > 100
    for row, cells, head in table:
        assert cells == head, row
