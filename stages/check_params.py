"""Stage check_params: params.yaml as a whole, before any stage runs.

DVC removes a stage's outputs before it runs the stage, so a stage that finds a fault in params.yaml has
lost its earlier results already. All other stages come after this one, whose output is always the same:
DVC reruns it whenever params.yaml changes, and no other stage on its account.
"""

from __future__ import annotations

from pipeline.console import run
from pipeline.files import write_json
from pipeline.params import load
from stages.schema import Params


def main() -> None:
    load(Params)
    write_json("data/params_checked.json", {"params": "checked"})


if __name__ == "__main__":
    run(main)
