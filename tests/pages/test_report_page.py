"""The report's page in a browser: narrow and wide, light and dark, with nothing cut off."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.conftest import Project
from tests.support.pages import chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.mark.parametrize(
    ("width", "scheme", "opened"),
    [
        (390, "light", False),
        (390, "dark", True),
        (1280, "light", True),
        (1280, "dark", False),
        (1600, "light", True),
    ],
)
def test_the_page_works_in_a_browser(
    browser: Browser, reproduced: Project, width: int, scheme: str, opened: bool
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    console_messages: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: console_messages.append(message.text))
    page.on("pageerror", lambda error: console_messages.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto((reproduced.path / "reports/report.html").as_uri())
    page.eval_on_selector_all("details", f"all => all.forEach(one => one.open = {str(opened).lower()})")
    assert not console_messages
    assert [url for url in requests if not url.startswith("data:")] == [page.url], (
        "the page loads no other file"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    pictures = page.evaluate(
        "[...document.images].map(one => [one.alt, one.naturalWidth, one.getBoundingClientRect().right])"
    )
    assert len(pictures) > 40
    tables = page.evaluate(
        "[...document.querySelectorAll('.wide')].map("
        "one => [one.innerText.slice(0, 80), one.scrollWidth, one.clientWidth, "
        "one.getBoundingClientRect().left])"
    )
    assert len(tables) > 15
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
