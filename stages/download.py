"""Stage download: the dataset as published, checked by md5, from the first source that has it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pipeline import mnist_family, sources, uci_digits
from pipeline.console import UserError, run, say, warn
from pipeline.files import write_json
from pipeline.params import load
from stages.schema import Params

RAW = Path("data/raw")


def main() -> None:
    dataset, fallback = load(Params, "data.dataset", "data.offline_fallback")
    RAW.mkdir(parents=True, exist_ok=True)
    taken = dataset
    if dataset == uci_digits.NAME:
        uci_digits.write(RAW / dataset)
    elif failures := download(dataset):
        if fallback is None or mirror():
            raise UserError(explain(dataset, failures, fallback))
        taken = fallback
        warn(stand_in(dataset, fallback, failures))
        uci_digits.write(RAW / fallback)
    write_json(RAW / "dataset.json", {"dataset": taken, "requested": dataset})
    sources.tidy(RAW, {taken, "dataset.json"})
    wanted = uci_digits.FILES if taken == uci_digits.NAME else mnist_family.files(taken)
    sources.tidy(RAW / taken, set(wanted))
    say(f"{taken}: {len(wanted)} files in {RAW / taken}")


def download(dataset: str) -> list[str]:
    """Fetches what is missing or damaged; returns why each source failed, or nothing when all is there."""
    wanted = mnist_family.files(dataset)
    folder = RAW / dataset
    folder.mkdir(exist_ok=True)
    failures: list[str] = []
    own = mirror()
    for source in [*filter(None, [own]), *mnist_family.mirrors(dataset)]:
        missing = sources.damaged(folder, wanted)
        if not missing:
            return []
        say(f"{dataset}: fetching {', '.join(missing)} from {source}")
        try:
            quiet = not sys.stderr.isatty()
            sources.fetch(source, dataset, wanted, folder, quiet=quiet, nested=source == own)
        except sources.SourceFailed as error:
            failures.append(f"{source}\n      {error}")
    return failures if sources.damaged(folder, wanted) else []


def mirror() -> str:
    """MNIST_MIRROR: an address as it is; a folder as a path, a relative one below the main repository."""
    value = os.environ.get("MNIST_MIRROR", "").strip()
    if not value or value.startswith(("http://", "https://")):
        return value
    folder = Path(value.removeprefix("file://")).expanduser()
    return str(Path(os.environ.get("DVC_ROOT", "."), folder))


def explain(dataset: str, failures: list[str], fallback: str | None) -> str:
    tried = "\n".join(f"  {number}. {failure}" for number, failure in enumerate(failures, 1))
    advice = [
        f"Set MNIST_MIRROR to a folder or an http(s) address that holds the files of {dataset} "
        f"(in {dataset}/ or directly), or download them into {RAW / dataset}/."
    ]
    if mirror() and fallback:
        advice.append(f"Or unset MNIST_MIRROR, and the pipeline runs on {fallback} meanwhile.")
    return f"{dataset} could not be had from any source:\n{tried}\n  " + "\n  ".join(advice)


def stand_in(dataset: str, fallback: str, failures: list[str]) -> str:
    line = "=" * 100
    tried = "\n".join(f"  {number}. {failure}" for number, failure in enumerate(failures, 1))
    return (
        f"\n{line}\n{dataset} could not be had:\n{tried}\n"
        f"Using {fallback} instead: scikit-learn's 1,797 handwritten digits. Its numbers are NOT those\n"
        f"of {dataset}, and every metrics file, figure and MLflow run names it.\n"
        f"For {dataset} later: `make repro` with internet, or MNIST_MIRROR=<folder or http(s) address>.\n"
        f"{line}"
    )


if __name__ == "__main__":
    run(main)
