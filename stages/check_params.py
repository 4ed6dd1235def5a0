"""Stage check_params: params.yaml as a whole, before any stage runs.

DVC removes a stage's outputs before it runs the stage, so a stage that found a fault itself would have lost
its results. All others come after this one, whose output is always the same and so reruns none of them.
"""

from pathlib import Path

from stages.schema import Params
from workflow.core.errors import UserError
from workflow.core.files import read_yaml, write_json
from workflow.core.params import load


def main() -> None:
    load(Params)
    path = Path(read_yaml()["data"]["path"])
    if not path.exists():  # a dependency, whichever the dataset: DVC would stop, later and in fewer words
        raise UserError(
            f"data.path: {path} does not exist; put your images there (docs/data.md), or write data/own"
        )
    write_json("data/params_checked.json", {"params": "checked"})
