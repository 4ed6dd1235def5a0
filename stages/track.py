"""`make track`: completes MLflow from the files, models included; no stage, and run after the pipeline."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from pipeline.console import UserError, run
from pipeline.mirror import complete
from stages.registry import choose_best, log_models


def main() -> None:
    from dvc.exceptions import DvcException
    from pygit2 import GitError  # of a repository that belongs to another user

    parser = argparse.ArgumentParser(
        prog="python -m stages.track",
        description="Completes MLflow from the files of what was computed here.",
    )
    parser.add_argument(
        "--committed", action="store_true", help="also what git has brought: HEAD's results and experiments"
    )
    committed = parser.parse_args().committed
    os.chdir(_project())
    try:
        whole = complete(log_models, choose_best, committed=committed)
    except (DvcException, GitError) as error:
        raise UserError(f"DVC cannot read this project: {error}\n  `make doctor` says what to do.") from None
    if not whole:
        sys.exit(1)


def _project() -> Path:
    """The project's folder, from any folder below it."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / ".dvc").is_dir():
            return folder
    raise UserError(f"{here} is not below a folder with .dvc: go to the project's folder")


if __name__ == "__main__":
    run(main)
