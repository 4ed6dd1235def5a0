"""The one way to run a stage: `python -m workflow STAGE [MEMBER]` calls `main` of stages/STAGE.py.

First it sets the environment variables of `compute` in params.yaml, since torch and numpy read them at
import. Where DVC runs the stage, its inputs are checked too.
"""

import importlib
import importlib.util
import inspect
import os
import sys
from pathlib import Path

from workflow.core import processor
from workflow.core.errors import UserError
from workflow.runs import preflight
from workflow.runs.console import exit_on_signals, raise_on_signals, run, watch


def main() -> None:
    stage, *members = sys.argv[1:] or [""]
    processor.apply()
    if running := os.environ.get("DVC_STAGE"):
        preflight.check(running)
    with watch("@".join([stage, *members])):
        exit_on_signals()  # an exception in the middle of an import may come out as another, or not at all
        function = getattr(_module(stage), "main", None)
        raise_on_signals()
        if function is None:
            raise UserError(f"stages/{stage}.py is not a stage: it has no main()")
        expected = list(inspect.signature(function).parameters)
        if len(members) != len(expected):
            usage = " ".join([f"python -m workflow {stage}", *map(str.upper, expected)])
            raise UserError(f"{len(members)} members given, {len(expected)} expected: {usage}")
        function(*members)


def _module(stage: str) -> object:
    if not stage.isidentifier() or importlib.util.find_spec(f"stages.{stage}") is None:
        files = [path for path in Path("stages").glob("*.py") if "\ndef main(" in path.read_text("utf-8")]
        known = ", ".join(sorted(path.stem for path in files))
        raise UserError(f"no stage {stage or 'given'}: python -m workflow STAGE [MEMBER]\n  stages: {known}")
    return importlib.import_module(f"stages.{stage}")


if __name__ == "__main__":
    run(main)
