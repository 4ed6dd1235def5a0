"""Files of results as the stages would write them for other models and data, made from those of a variant."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

HEADERS = {
    "families": "split,family,images,elbo,elbo_se,gap,gap_se",
    "estimators": "split,estimator,k,images,bound,bound_se,pareto_k,trusted",
}
JUDGED = (
    "critique.json",
    "interpolations.json",
    "latents.json",
)  # files with keys of the judge or of classes


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def change(path: Path, found: dict[str, Any]) -> None:
    path.write_text(json.dumps(found))


def complete(reports: Path, variant: str) -> None:
    """Adds what a variant of a plane lacks: its size, and its gap by family, with their figure."""
    folder = reports / "vae" / variant
    if not (folder / "model.json").exists():
        elbo = read(folder / "elbo.json")
        about: dict[str, Any] = {"parameters": 1_068_820, "latent": 2, "active_units": 2}
        for split in ("train", "test"):
            found = elbo[split]
            about[split] = {
                "rate": found["kl"],
                "distortion": -found["reconstruction"],
                "kl_by_dimension": found["kl_by_dimension"],
            }
        change(folder / "model.json", about)
    if not (folder / "families.csv").exists():
        gaps = read(folder / "likelihood.json")["test"]["gaps"]
        best = gaps["approximation_of_better_start"]
        write_families(
            folder, 2000, {"encoder": gaps["inference"], "best diagonal": best, "best full": 0.4 * best}
        )
    if not (folder / "estimators.csv").exists():
        (folder / "estimators.csv").write_text(HEADERS["estimators"] + "\n")
    figures = reports / "figures/comparison"
    if not (figures / "families.png").exists():
        shutil.copy(figures / "gaps.png", figures / "families.png")


def write_families(folder: Path, images: int, gaps: dict[str, float]) -> None:
    lines = [f"{split},{family},{images},{-126.8 - gap:.6f},0.45,{gap:.6f},0.05"
             for split in ("train", "test") for family, gap in gaps.items()]  # fmt: skip
    (folder / "families.csv").write_text("\n".join([HEADERS["families"], *lines]) + "\n")


def widen(reports: Path, variant: str, latent: int = 20) -> None:
    """Makes the results of a variant those of a wide latent, of which log p(x) is only bounded."""
    folder, figures = reports / "vae" / variant, reports / "figures/vae" / variant
    likelihood = read(folder / "likelihood.json")
    for split in ("train", "test"):
        kept = ("images", "log_likelihood", "elbo", "inference_gap")
        keys = [key for name in kept for key in (name, f"{name}_se") if key in likelihood[split]]
        likelihood[split] = {key: likelihood[split][key] for key in keys}
        likelihood[split]["images"] = 500
    simulated = {"images": 100, "lower": -81.0, "upper": -80.4, "distance": 0.6, "distance_se": 0.1}
    annealed = {"images": 500, "bound": -78.7, "bound_se": 1.9, "refined": -78.5, "simulated": simulated}
    likelihood["test"]["annealed"] = annealed
    del likelihood["price"]
    change(folder / "likelihood.json", likelihood | {"method": "importance sampling"})
    change(folder / "model.json", read(folder / "model.json") | {"latent": latent, "active_units": 9})
    write_families(folder, 500, {"encoder": 4.5, "best diagonal": 2.5, "best full": 1.5})
    rows = [
        ("iwae", 1, -83.4, "", ""),
        ("iwae", 1000, -79.3, 0.8, 0.1),
        ("best full", 1000, -78.6, 0.5, 0.95),
    ]
    lines = [f"{split},{name},{k},500,{bound},0.5,{shape},{share}"
             for split in ("train", "test") for name, k, bound, shape, share in rows]  # fmt: skip
    (folder / "estimators.csv").write_text("\n".join([HEADERS["estimators"], *lines]) + "\n")
    shutil.copy(figures / "plane.png", figures / "projection.png")
    (figures / "plane.png").rename(figures / "units.png")
    comparison = reports / "figures/comparison"
    shutil.copy(comparison / "bounds.png", comparison / "estimators.png")


def of_wide_alone(reports: Path) -> None:
    """Deletes the figures of planes, where no variant has one."""
    for name in ("gaps", "posteriors", "likelihood", "regions"):
        (reports / f"figures/comparison/{name}.png").unlink()


def unlabel(reports: Path) -> None:
    """Makes the results those of data without labels."""
    change(reports / "classifier/images/metrics.json", {"dataset": "own-faces", "labels": False})
    keys = {
        "critique.json": ("dataset", "samples", "pixel_entropy", "pixel_entropy_of_reconstructions"),
        "latents.json": ("dataset",),
        "interpolations.json": ("dataset", "steps", "shown", "random"),
    }
    for folder in (reports / "vae").iterdir():
        for file, kept in keys.items():
            found = read(folder / file)
            found = {key: found[key] for key in kept} | {"labels": False}
            for kind in ("shown", "random"):
                if kind in found:
                    found[kind] = {key: found[kind][key] for key in ("detour", "largest_step")}
            change(folder / file, found)
        tables = ("*_by_class.csv", "*pairs.csv", "latents_confusion.csv", "samples.csv", "*lines.csv")
        for path in itertools.chain(*map(folder.glob, tables)):
            path.write_text(path.read_text().splitlines()[0] + "\n")
    shutil.rmtree(reports / "figures/classifier/images")
    for name in ("gaps", "critique", "neighbours", "regions"):
        (reports / f"figures/comparison/{name}.png").unlink(missing_ok=True)


def rename_class(reports: Path, old: str, new: str) -> None:
    """Renames a class in the tables of all variants."""
    for path in (reports / "vae").glob("*/*.csv"):
        with path.open(newline="") as file:
            rows = list(csv.reader(file))
        columns = {
            place
            for place, key in enumerate(rows[0])
            if key in ("class", "first", "second", "verdict", "most_often_as")
        }
        for row in rows[1:]:
            for place in columns:
                row[place] = new if row[place] == old else row[place]
        with path.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


def drop_homework(folder: Path, params: dict[str, Any]) -> None:
    """Deletes problems 1 and 2 from params.yaml's sections, the results and the templates."""
    del params["quadratic"], params["annuli"], params["classifier"]["annuli"]
    for path in ("quadratic", "classifier/annuli", "figures/quadratic", "figures/classifier/annuli"):
        shutil.rmtree(folder / "reports" / path)
    for name in ("quadratics", "annuli"):
        (folder / f"pages/templates/{name}.md.j2").unlink()
