"""MLflow's pages in a browser: `mlflow ui` on a project's store, opened in Chromium."""

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

from tests.support.stores import free_port, run_server

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser. Without Chromium the test is skipped, or fails if REQUIRE_TOOLS is set."""
    if CHROMIUM is None:
        if os.environ.get("REQUIRE_TOOLS"):
            pytest.fail("Chromium is not installed, and REQUIRE_TOOLS is set")
        pytest.skip("Chromium is not installed: apt-get install chromium (or Google Chrome)")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def mlflow_pages(project: Path, width: int = 1280, height: int = 900) -> Iterator[tuple[Page, str]]:
    """Starts `mlflow ui` in a project as `make ui` does; yields a browser page and the address."""
    port = free_port()
    command = ["mlflow", "ui", "--port", str(port), "--workers", "1"]
    with run_server(command, port, project) as address, chromium() as browser:
        context = browser.new_context(viewport={"width": width, "height": height})
        # by default MLflow opens a page on chats, and an assistant that covers a third of the window
        context.add_init_script(
            "localStorage.setItem('mlflow.workflowType', '\"machine_learning\"');"
            "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');"
            "localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');"
        )
        yield context.new_page(), address


def open_page(page: Page, address: str, path: str, expected_text: str) -> None:
    """Opens a page of MLflow and waits until it shows a text."""
    page.goto("about:blank")  # a change after # alone would not load it
    page.goto(f"{address}/#/{path}")
    page.get_by_text(expected_text, exact=True).first.wait_for(timeout=60_000)
    page.wait_for_timeout(1500)  # its animations


def open_comparison(page: Page, address: str, runs: Sequence[Run]) -> None:
    """Opens the comparison of runs of one experiment."""
    ids = json.dumps([run.info.run_id for run in runs])
    experiments = json.dumps([runs[0].info.experiment_id])
    open_page(page, address, f"compare-runs?runs={ids}&experiments={experiments}", "Run details")
