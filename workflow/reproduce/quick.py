"""`make quick`: runs the whole pipeline, small and without a download, in a folder of its own.

It changes nothing in the working tree: results, DVC's cache and MLflow's store are separate.
"""

import shutil
import time
from pathlib import Path

from ruamel.yaml import YAML

from workflow.core.files import read_yaml
from workflow.core.params import set_params
from workflow.reproduce.sandbox import copy_tree, repository, reproduce
from workflow.runs.console import run
from workflow.runs.project import project

FOLDER = Path(".quick")


def main() -> None:
    started_at = time.monotonic()
    root = repository()
    place = root / FOLDER
    shutil.rmtree(place, ignore_errors=True)
    copy_tree(root, place)
    shrink(place / "params.yaml", smallest=True)
    reproduce(place, root, f"the small pipeline failed in {place}")
    seconds = time.monotonic() - started_at
    print(f"quick: passed in {seconds:.0f} s, with the settings of {project().small}, in {place}")


def shrink(params: Path, *, smallest: bool) -> None:
    """Gives a params.yaml the settings of small.yaml.

    Args:
        smallest: also those of `smallest`, and without the members in `left_out`.
    """
    settings = read_yaml(project().small)
    values = settings["small"] | (settings["smallest"] if smallest else {})
    set_params(params, *(f"{key}={value}" for key, value in values.items()))
    if smallest:
        yaml = YAML()
        yaml.width = 1000
        content = yaml.load(params.read_text(encoding="utf-8"))
        for name in settings["left_out"]:
            section, member = name.split(".")
            del content[section][member]
        with params.open("w", encoding="utf-8") as file:
            yaml.dump(content, file)


if __name__ == "__main__":
    run(main)
