"""`make quick`: does it work here? The whole pipeline, small, without a download, in a folder of its own.

It reads the working tree and changes nothing there: results, DVC's cache and MLflow's store are its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

from ruamel.yaml import YAML

from pipeline.audit import change, copy
from pipeline.console import UserError, run
from pipeline.params import read
from pipeline.verify import environment, repository

FOLDER = Path(".quick")
SETTINGS = Path(__file__).with_name("small.yaml")


def main() -> None:
    began = time.monotonic()
    root = repository(head=False)
    place = root / FOLDER
    shutil.rmtree(place, ignore_errors=True)
    copy(root, place, [])
    shrink(place / "params.yaml", smallest=True)
    around = environment(place, root)
    done = subprocess.run([sys.executable, "-m", "dvc", "repro"], cwd=place, env=around)
    if done.returncode:
        raise UserError(f"the small pipeline failed in {place} (see above; exit code {done.returncode})")
    subprocess.run([sys.executable, "-m", "stages.summary"], cwd=place, env=around, check=True)
    print(f"quick: passed in {time.monotonic() - began:.0f} s, on scikit-learn's digits with small settings")
    print(f"its report: {place / 'reports/report.html'}")


def shrink(params: Path, *, smallest: bool) -> None:
    """Gives a params.yaml the settings of small.yaml.

    Args:
        smallest: with fewer members too, one of each kind.
    """
    content = read(SETTINGS)
    values = content["small"]
    if smallest:
        values |= content["smallest"]
        leave_out(params, content["left_out"])
        gone = tuple(f"{member}." for member in content["left_out"])
        values = {key: value for key, value in values.items() if not key.startswith(gone)}
    change(params, *(f"{key}={value}" for key, value in values.items()))


def leave_out(params: Path, keys: list[str]) -> None:
    """Removes members (`vae.tuned`) from a params.yaml."""
    yaml = YAML()
    yaml.width = 1000
    content = yaml.load(params.read_text(encoding="utf-8"))
    for section, member in (key.split(".") for key in keys):
        del content[section][member]
    with params.open("w", encoding="utf-8") as file:
        yaml.dump(content, file)


if __name__ == "__main__":
    run(main)
