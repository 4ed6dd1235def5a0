"""MLflow's real pages in a real browser: `mlflow ui` on a project's store, and Chromium before it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow.entities import Run
from playwright.sync_api import Browser, Page, sync_playwright

from tests.stores import free_port, serving

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; without one the test is skipped, or fails where REQUIRE_TOOLS asks for it."""
    if CHROMIUM is None:
        if os.environ.get("REQUIRE_TOOLS"):
            pytest.fail("no Chromium here, and REQUIRE_TOOLS asks for it")
        pytest.skip("no Chromium here: `apt-get install chromium` (or Google Chrome) to run this")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def mlflow_pages(project: Path, width: int = 1280, height: int = 900) -> Iterator[tuple[Page, str]]:
    """A page, and the address of `mlflow ui` as `make ui` starts it in a project."""
    port = free_port()
    command = ["mlflow", "ui", "--port", str(port), "--workers", "1"]
    with serving(command, port, project) as address, chromium() as browser:
        context = browser.new_context(viewport={"width": width, "height": height})
        # MLflow opens with a page on chats, and an assistant over a third of the window
        context.add_init_script(
            "localStorage.setItem('mlflow.workflowType', '\"machine_learning\"');"
            "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');"
            "localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');"
        )
        yield context.new_page(), address


def open_page(page: Page, address: str, path: str, awaited: str) -> None:
    """Opens a page of MLflow and waits until it shows a text."""
    page.goto("about:blank")  # a change after # alone would not load it
    page.goto(f"{address}/#/{path}")
    page.get_by_text(awaited, exact=True).first.wait_for(timeout=60_000)
    page.wait_for_timeout(1500)  # its animations


def open_comparison(page: Page, address: str, runs: Sequence[Run]) -> None:
    """Opens the comparison of runs of one experiment."""
    ids = json.dumps([run.info.run_id for run in runs])
    experiments = json.dumps([runs[0].info.experiment_id])
    open_page(page, address, f"compare-runs?runs={ids}&experiments={experiments}", "Run details")
