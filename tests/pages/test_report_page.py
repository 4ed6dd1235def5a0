"""The report's page in a browser: narrow and wide, light and dark, with nothing cut off."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.conftest import Project
from tests.pages.conftest import VARIANTS, Render
from tests.support.pages import chromium

FOUR = (*VARIANTS, "wide", "long_name_of_a_variant")
LIMIT = {2: 2_000_000, 4: 2_800_000}  # bytes of reports/, by the number of variants


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def check(browser: Browser, report: Path, width: int, scheme: str, pictures_at_least: int) -> None:
    """Nothing of the page is cut off, broken, or loaded from elsewhere."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    console_messages: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: console_messages.append(message.text))
    page.on("pageerror", lambda error: console_messages.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.as_uri())
    page.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
    assert not console_messages
    assert [url for url in requests if not url.startswith("data:")] == [page.url], (
        "the page loads no other file"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    pictures = page.evaluate(
        "[...document.images].map(one => [one.alt, one.naturalWidth, one.getBoundingClientRect().right])"
    )
    assert len(pictures) >= pictures_at_least
    tables = page.evaluate(
        "[...document.querySelectorAll('.wide')].map("
        "one => [one.innerText.slice(0, 80), one.scrollWidth, one.clientWidth, "
        "one.getBoundingClientRect().left])"
    )
    assert len(tables) > 10
    for table_text, needed, shown, left in tables:
        assert left >= 0, table_text
        assert width < 1280 or needed <= shown, f"cut off: {table_text}"
    for alt, natural, right in pictures:
        assert len(alt) > 10
        assert natural > 0, alt
        assert right <= width, alt
    assert page.evaluate("document.querySelectorAll('math').length") > 20
    ink, paper = page.evaluate("(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))")
    brightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ink, paper)]
    assert (brightness[0] < brightness[1]) == (scheme == "light")
    context.close()


@pytest.mark.parametrize("variants", [VARIANTS[1:], VARIANTS, FOUR])
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light"), (1600, "dark")])
def test_the_page_works_in_a_browser(
    browser: Browser, render_variants: Render, width: int, scheme: str, variants: tuple[str, ...]
) -> None:
    check(browser, render_variants(variants) / "reports/report.html", width, scheme, 17 + 3 * len(variants))


def test_the_page_of_a_small_run_works_in_a_browser(browser: Browser, reproduced: Project) -> None:
    check(browser, reproduced.path / "reports/report.html", 390, "light", 20)


@pytest.mark.parametrize("variants", [VARIANTS, FOUR])
def test_the_first_screen_has_the_results(
    browser: Browser, render_variants: Render, variants: tuple[str, ...]
) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto((render_variants(variants) / "reports/report.html").as_uri())
    for text in (
        "test ELBO after the last epoch",
        "−137.67",
        "exact log p(x)",
        "recovered by ascent",
        "What we learned.",
        "Single samples look right",
        "make repro",
    ):
        box = page.locator("main").get_by_text(text).first.bounding_box()
        assert box is not None, text
        assert box["y"] + box["height"] < 800, text
    picture = page.locator("main img").first.bounding_box()
    assert picture is not None
    assert 800 - picture["y"] > 0.5 * picture["height"], "most of the first picture is below the first screen"
    page.close()


def test_the_contents_stay_in_sight_on_a_wide_screen_and_mark_the_section(
    browser: Browser, render_variants: Render
) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto((render_variants() / "reports/report.html").as_uri())
    page.locator("nav").get_by_text("3f:").click()
    page.wait_for_selector("nav [aria-current]")
    page.wait_for_timeout(1500)  # it scrolls smoothly
    assert page.locator("nav [aria-current]").all_inner_texts() == [
        "3f: where do the classes overlap in the latent plane?"
    ]
    assert page.evaluate("scrollY") > 2000
    assert page.evaluate("document.querySelector('nav').getBoundingClientRect().top") == 0
    page.close()


@pytest.mark.parametrize("variants", [VARIANTS, FOUR])
def test_the_reports_stay_small(render_variants: Render, variants: tuple[str, ...]) -> None:
    folder = render_variants(variants) / "reports"
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size < LIMIT[len(variants)]
