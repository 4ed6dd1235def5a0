"""`make track`: completes MLflow from the files, models included. It runs after the pipeline."""

import argparse
import os
import sys
from pathlib import Path

from workflow.runs import dvc_repo
from workflow.runs.console import run, watch
from workflow.tracking.sync import complete


def main() -> None:
    parser = argparse.ArgumentParser("python -m workflow.tracking", description=__doc__)
    help_ = "also results of HEAD and of experiments that only git has"
    parser.add_argument("--committed", action="store_true", help=help_)
    committed = parser.parse_args().committed
    here = Path.cwd()
    os.chdir(next((folder for folder in (here, *here.parents) if (folder / ".dvc").is_dir()), here))
    with watch("MLflow"), dvc_repo.explained():
        if not complete(committed=committed):
            sys.exit(1)


if __name__ == "__main__":
    run(main)
