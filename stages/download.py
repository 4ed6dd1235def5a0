"""Stage download: own images; or a dataset as published, checked by md5, from the first source that works."""

import os
import sys
from pathlib import Path

from sources import http, mnist, own, uci_digits
from stages.schema import Params
from workflow.core.errors import UserError
from workflow.core.files import write_json
from workflow.core.params import load
from workflow.runs.console import say, warn

RAW = Path("data/raw")
REMEDY = """
  Set MNIST_MIRROR to a folder or an http(s) address that holds the files of {dataset} (in {dataset}/
  or directly), or download them into data/raw/{dataset}/."""
LINE = "=" * 100
STAND_IN = f"""
{LINE}
{{problem}}
Using {{fallback}} instead: scikit-learn's 1,797 handwritten digits. Its numbers are NOT those
of {{dataset}}, and every metrics file, figure and MLflow run names it.
For {{dataset}} later: `make repro` with internet, or MNIST_MIRROR=<folder or http(s) address>.
{LINE}"""


def main() -> None:
    dataset, path, classes, fallback = load(
        Params, "data.dataset", "data.path", "data.classes", "data.offline_fallback"
    )
    RAW.mkdir(parents=True, exist_ok=True)
    if dataset == own.NAME:
        copy(path, classes)
        return
    used = dataset
    if dataset != uci_digits.NAME and (failures := download(dataset)):
        tried = [f"  {number}. {failure}" for number, failure in enumerate(failures, 1)]
        problem = "\n".join([f"{dataset}: no source works", *tried])
        if fallback is None or mirror():
            unset = f"\n  Or unset MNIST_MIRROR: the pipeline then runs on {fallback}."
            raise UserError(problem + REMEDY.format(dataset=dataset) + unset * (fallback is not None))
        warn(STAND_IN.format(problem=problem, fallback=fallback, dataset=dataset))
        used = fallback
    if used == uci_digits.NAME:
        uci_digits.write(RAW / used)
    write_json(RAW / "dataset.json", {"dataset": used, "requested": dataset})
    http.tidy(RAW, {used, "dataset.json"})
    files = set(uci_digits.FILES if used == uci_digits.NAME else mnist.files(used))
    http.tidy(RAW / used, files)
    say(f"{used}: {len(files)} files in {RAW / used}")


def copy(path: str, classes: list[str] | None) -> None:
    """Writes the user's own images, once all of them are read without a fault."""
    images, name = own.read(Path(path), classes), own.dataset_name(path)
    files = images.write(RAW / name)
    content = {"dataset": name, "requested": name, "classes": list(images.classes)}
    write_json(RAW / "dataset.json", content)
    http.tidy(RAW, {name, "dataset.json"})
    http.tidy(RAW / name, set(files))
    counts = ", ".join(f"{len(rows)} {split}" for split, rows in images.images.items())
    height, width = images.images["train"].shape[1:]
    labels = f"{len(images.classes)} classes" if images.classes else "no labels"
    say(f"{name}: {counts} images, {height} x {width} pixels, {labels}, from {path}")


def download(dataset: str) -> list[str]:
    """Fetches what is missing or damaged; returns why each source failed, or [] when all files are there."""
    files, folder, first = mnist.files(dataset), RAW / dataset, mirror()
    folder.mkdir(exist_ok=True)
    failures: list[str] = []
    for source in [first] * bool(first) + list(mnist.mirrors(dataset)):
        if missing := http.damaged(folder, files):
            say(f"{dataset}: fetching {', '.join(missing)} from {source}")
            try:
                quiet = not sys.stderr.isatty()
                http.fetch(source, dataset, files, folder, quiet=quiet, nested=source == first)
            except http.SourceFailed as error:
                failures.append(f"{source}\n      {error}")
    return failures if http.damaged(folder, files) else []


def mirror() -> str:
    """MNIST_MIRROR: an address as it is; a folder as a path, a relative one below the main repository."""
    value = os.environ.get("MNIST_MIRROR", "").strip()
    if not value or value.startswith(("http://", "https://")):
        return value
    folder = Path(value.removeprefix("file://")).expanduser()
    return str(Path(os.environ.get("DVC_ROOT", "."), folder))
