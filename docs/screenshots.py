"""Makes the pictures of MLflow and DVC in docs/: `python -m docs.screenshots`.

First run the sweep by hand of docs/compare-and-sweep.md, and `make track`. The pictures show runs of MNIST
in this folder's store: the two variants, and three of the sweep. `docs/screenshots.json` records the
files whose numbers they show, so that a test finds pictures that are out of date.
"""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

from mlflow.entities import Run
from PIL import Image
from playwright.sync_api import FloatRect, Page

from tests.support.pages import chromium, mlflow_pages, open_comparison, open_page
from tests.support.stores import all_runs
from workflow.core.files import md5, read_json, write_json

FOLDER = Path("docs")
RECORD = FOLDER / "screenshots.json"
VARIANTS = ("notebook", "tuned")
SHOWN = [
    f"reports/vae/{name}/{file}"
    for name in VARIANTS
    for file in ("training.csv", "elbo.json", "likelihood.json")
]
WIDTH, HIGHEST = 1200, 1100  # pixels
COLOURS = 128  # enough for these pages


def main() -> None:
    pair, sweep = choose_runs()
    with mlflow_pages(Path.cwd(), WIDTH, 2400) as (page, address):
        for name, runs in (("mlflow_variants.png", pair), ("mlflow_sweep.png", sweep)):
            open_comparison(page, address, runs)
            page.get_by_label("Parameters - Show diff only").click()
            page.wait_for_timeout(1000)
            save(name, page, crop(page, "Run details", end="Artifacts"))
        page.set_viewport_size({"width": WIDTH, "height": 700})
        open_page(page, address, "models/vae-decoder", "vae-decoder")
        save("mlflow_registry.png", page, crop(page, "vae-decoder"))
    names = [run.data.tags["experiments"].split(", ")[0] for run in (sweep[0], sweep[-1])]
    target = "reports/vae/tuned/training.csv"
    command = ["dvc", "plots", "diff", *names, "--targets", target, "-o", "dvc_plots"]
    subprocess.run(command, check=True)
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 760, "height": 900})
        page.goto((Path.cwd() / "dvc_plots/index.html").as_uri())
        page.wait_for_timeout(3000)
        box = page.locator("body > div").first.bounding_box()
        assert box
        save("dvc_plots_diff.png", page, box)
    write_json(RECORD, {path: md5(path) for path in SHOWN})


def choose_runs() -> tuple[list[Run], list[Run]]:
    """The runs of the two variants, and those of the sweep by lr; ends the program if some are missing."""
    runs = all_runs(f"sqlite:///{Path('mlflow.db').resolve()}")
    trained = [pair for pair in runs if pair[1].data.tags.get("dataset") == "mnist"]
    held_out = [
        run for name, run in trained if name == "vae/tuned" and run.data.params["data.validation"] != "0"
    ]
    sweep = [run for run in held_out if run.data.tags.get("experiments")]
    latest = {name: run for name, run in reversed(trained) if run not in held_out}
    pair = [latest[name] for name in (f"vae/{variant}" for variant in VARIANTS) if name in latest]
    if len(pair) < len(VARIANTS) or len(sweep) < 2:
        sys.exit("no results of MNIST and its sweep in mlflow.db: see the first lines of docs/screenshots.py")
    return pair, sorted(sweep, key=lambda run: float(run.data.params["lr"]))


def crop(page: Page, start: str, end: str = "") -> FloatRect:
    """The part of the window from one heading to another, or to its end, without MLflow's menu."""
    size = page.viewport_size
    first = page.get_by_text(start, exact=True).last.bounding_box()
    last = page.get_by_text(end, exact=True).first.bounding_box() if end else None
    assert size
    assert first, f"no heading {start}"
    left, top = max(0, first["x"] - 40), max(0, first["y"] - 20)
    bottom = min(last["y"] - 20 if last else size["height"], top + HIGHEST)
    return {"x": left, "y": top, "width": size["width"] - left, "height": bottom - top}


def save(name: str, page: Page, clip: FloatRect | None = None) -> None:
    """Saves the window, or a part of it, as a small PNG."""
    image = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")
    image.quantize(COLOURS).save(FOLDER / name, optimize=True)


def stale(root: Path) -> list[str]:
    """The files whose numbers have changed since the pictures were made; all if there is no record."""
    record = read_json(root / RECORD) if (root / RECORD).is_file() else {}
    return [path for path in SHOWN if record.get(path) != md5(root / path)]


if __name__ == "__main__":
    main()
