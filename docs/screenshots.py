"""Makes the README's pictures of MLflow and DVC: `python -m docs.screenshots`, after the README's sweep.

Pages of `mlflow ui` on this project's store, and of `dvc plots diff`, in Chromium.
"""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

from PIL import Image

from tests.support.pages import chromium, mlflow_pages, open_comparison, open_page
from tests.support.stores import all_runs

FOLDER = Path("docs")
COLOURS = 128  # enough for these pages


def main() -> None:
    runs = all_runs(f"sqlite:///{Path('mlflow.db').resolve()}")
    mnist = [pair for pair in runs if pair[1].data.tags.get("dataset") == "mnist"]
    held_out = [run for _, run in mnist if "elbo/validation.elbo" in run.data.metrics]
    latest = {name: run for name, run in reversed(mnist) if run not in held_out}
    pair = [latest["vae/notebook"], latest["vae/tuned"]]
    with mlflow_pages(Path.cwd(), 1200, 2400) as (page, address):
        open_comparison(page, address, pair)
        page.get_by_label("Parameters - Show diff only").click()
        page.wait_for_timeout(1000)
        save("mlflow_variants.png", page.screenshot(), top=0.0, bottom=0.62)
        open_comparison(page, address, held_out)
        page.get_by_label("Parameters - Show diff only").click()
        page.wait_for_timeout(1000)
        save("mlflow_sweep.png", page.screenshot(), top=0.0, bottom=0.62)
        page.set_viewport_size({"width": 1200, "height": 800})
        open_page(page, address, "models/vae-decoder", "vae-decoder")
        save("mlflow_registry.png", page.screenshot())
    best = max(held_out, key=lambda run: run.data.metrics["elbo/validation.elbo"])
    worst = min(held_out, key=lambda run: run.data.metrics["elbo/validation.elbo"])
    names = [run.data.tags["experiments"].split(", ")[0] for run in (best, worst)]
    target = "reports/vae/tuned/training.csv"
    command = ["dvc", "plots", "diff", *names, "--targets", target, "-o", "dvc_plots"]
    subprocess.run(command, check=True)
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 640, "height": 350})
        page.goto((Path.cwd() / "dvc_plots/index.html").as_uri())
        page.wait_for_timeout(3000)
        save("dvc_plots_diff.png", page.screenshot())


def save(name: str, png: bytes, top: float = 0.0, bottom: float = 1.0) -> None:
    """Saves a screenshot, cropped to the part between two relative heights, as a small PNG."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    part = image.crop((0, int(top * image.height), image.width, int(bottom * image.height)))
    part.quantize(COLOURS).save(FOLDER / name, optimize=True)


if __name__ == "__main__":
    main()
