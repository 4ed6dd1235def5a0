"""Names from files (of classes, data, settings) are text on a page and in a figure, whatever they hold."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest
from matplotlib.cbook import is_math_text
from playwright.sync_api import Browser

from pages.figures import write_figures
from pages.filters import escape
from plots import classifier
from stages import render_report
from tests.pages.conftest import Render
from tests.support.pages import chromium

NAME = (
    "<img src=x onerror=alert(1)>|a/b </script><script>alert(1)</script> [a](javascript:alert(1)) "
    "![b](c.png) $x_1$ $\\frac$ $$ | --- | `c` ``` ~~~ *a* _b_ __c__ ~~d~~ # &amp; \\ a ⟦elbo⟧ "
    'Figure ⟦none⟧ <!-- <a id="figure-x"> \u05d0\u05d1 \u4e00 \'" onmouseover="alert(1) ' + "x" * 300
)
NAMES = [f"{digit} {NAME}" for digit in range(10)]
HOSTILE = '# ```\n# <script>alert(1)</script>\n# </details> ⟦none⟧ <a id="figure-x">\n# ~~~~\n'
OUTLINE = "[...document.querySelectorAll('*')].map(one => [one.tagName, ...one.getAttributeNames()].join())"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def renamed(folder: Path) -> Path:
    """Gives the classes these names in all tables, and the data and settings of files others."""
    for path in folder.glob("reports/**/*.csv"):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        for column in {"class", "first", "second", "verdict", "most_often_as"} & {*table.columns}:
            table[column] = [NAMES[int(value)] if value else value for value in table[column]]
        table.to_csv(path, index=False)
    for path in folder.glob("reports/vae/*/*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"dataset": NAME}))
    search = pd.read_csv(folder / "data/search.csv", dtype=str)
    search.assign(name=NAME).to_csv(folder / "data/search.csv", index=False)
    params = folder / "params.yaml"
    params.write_text(HOSTILE + params.read_text())
    return folder


def test_a_page_has_the_elements_that_it_has_with_plain_names_and_runs_nothing(
    browser: Browser, render_variants: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = render_variants(("notebook", "tuned"), "own")
    folder = renamed(shutil.copytree(plain, tmp_path / "project"))
    monkeypatch.chdir(folder)
    with mock.patch.object(render_report, "load"):
        render_report.main()
    page, events = browser.new_page(), []
    for event in ("dialog", "pageerror", "console"):
        page.on(event, lambda found: events.append(str(found)))
    outlines = []
    for project in (plain, folder):
        page.goto((project / "reports/report.html").as_uri())
        outlines.append(page.evaluate(OUTLINE))
        page.mouse.move(600, 400)
    assert outlines[0] == outlines[1]
    assert not events
    text = re.sub(r"\s+", " ", page.evaluate("document.body.textContent").replace("\u2060", ""))
    page.close()
    assert text.count(NAME) > 30
    assert " ".join(HOSTILE.split()) in text


def test_letters_that_cannot_be_printed_do_not_reach_a_page() -> None:
    assert escape("a\nb\x00\u202ec\udc80") == "a b\ufffd\ufffdc\ufffd"
    assert escape({"class": ["snake_case"]}) == {"class": ["snake_case"]}


def test_figures_draw_a_name_as_it_is(tmp_path: Path) -> None:
    names = ["$\\frac$", "_x_", "a$b$c", "${\\bf x}$ and more"]
    fig = classifier.confusion({"tuned": pd.DataFrame(0, names, names).to_numpy() + 1}, names, "own $\\frac$")
    write_figures(tmp_path, {"confusion": fig})
    drawn = [label.get_text() for label in (*fig.axes[0].get_xticklabels(), fig.texts[0])]
    assert not [text for text in drawn if is_math_text(text)]
    assert [text.replace("\\$", "$") for text in drawn] == [
        *names[:3],
        "${\\bf x}$ a…",
        "16 binarized test images of own $\\frac$",
    ]
