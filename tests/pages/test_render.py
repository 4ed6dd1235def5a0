"""What the report's templates use: typeset numbers, formulas, pictures; missing names are errors."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pytest

from pages.filters import clear, extreme, number, plus_minus, power, share, words
from pages.names import dataset_title
from pages.render import environment, gather, render, to_html
from stages.render_report import TEMPLATES, context
from tests.pages.conftest import Render


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
    assert number(-0.001) == "0.00"
    assert number(0.5, 1, sign=True) == "+0.5"
    assert number(None) == share(None) == "–"
    assert share(0.1234) == "12.3 %"
    assert plus_minus(-1.234, 0.5) == "−1.23 ± 0.50"
    assert plus_minus(0.01, 0.005, percent=True) == "1.0 ± 0.5 %"
    assert plus_minus(0.01, None, percent=True) == "1.0 %"
    assert plus_minus(5.5, 0.25, 1, sign=True) == "+5.5 ± 0.2"
    assert plus_minus(None, None) == "–"
    assert power(-1.524307) == "0.030"
    assert power(-44.220797) == "6.0·10⁻⁴⁵"
    assert power(-4.0000001) == "1.0·10⁻⁴"
    assert power(-300.0) == "0"
    assert power(None) == "diverged"
    assert words(["a"]) == "a"
    assert words(["a", "b", "c"]) == "a, b and c"
    assert [clear(value, 0.1) for value in (0.3, 0.2, 0.0, -0.2, -0.3)] == [1, 0, 0, 0, -1]
    table: list[dict[str, Any]] = [{"a": 1, "b": 10}, {"a": 2, "b": 40}, {"a": None, "b": 1}]
    assert extreme(table, "a") == table[1]
    assert extreme(table, "a", "b", least=True) == table[1]
    assert [dataset_title(name) for name in ("mnist", "mine")] == ["MNIST", "mine"]


def test_formulas_become_mathml_and_pictures_are_inlined(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(b"\x89PNG")
    source = '## A "title"\n\n$x_k$, 1 ± 2 %\n\n### Part\n\n<a id="figure-a"></a>![two "words"](one.png)\n\n'
    body, headings = to_html(source + "*Figure 1. What.*\n", tmp_path)
    assert "<math" in body
    assert "<msub>" in body
    assert "1 ±\u00a02\u00a0%" in body
    assert re.search(
        r'<figure id="figure-a"><div><img .*></div><figcaption>Figure 1. What.</figcaption></figure>', body
    )
    assert 'src="data:image/png;base64,iVBORw=="' in body
    assert html.unescape(re.findall(r'alt="([^"]*)"', body)[0]) == 'two "words"'
    assert headings == [("h2", "a-title", 'A "title"'), ("h3", "part", "Part")]


def test_what_one_image_does_not_tell_is_a_dash_and_no_error(
    render_variants: Render, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forget(value: Any) -> None:
        for key in value if isinstance(value, dict) else ():
            if str(key).endswith("_se") or key in ("active_units", "silhouette", "recall", "precision"):
                value[key] = None
        for item in value.values() if isinstance(value, dict) else value:
            if isinstance(item, dict | list):
                forget(item)

    templates = environment(TEMPLATES)
    for wide in ((), ("tuned",)):
        monkeypatch.chdir(render_variants(wide=wide))
        found = context()
        forget({key: value for key, value in found.items() if key not in ("params", "notebook")})
        text = render(templates, "report.md.j2", **found)
        assert not re.search(r"\bnan\b|None\b(?! of)|± [–\d]", text)
        assert "No further variant is clearly better than *notebook*: the best, *tuned*, differs by +" in text
        assert "of one image no standard error is known, so no difference is clear." in text
        assert "dimensions of *tuned* – are active" in text
        assert "One test image has no neighbours" in text
        assert "| … by silhouette | –: – | –: – |" in text
