"""Before the pipeline: `python -m stages.check` looks at what would stop it halfway, and is no stage itself.

It checks params.yaml and that outputs can be written. Where a stand-in holds the place of the dataset that
was asked for, it runs the download again: DVC alone would not, since nothing that it sees has changed.
"""

from __future__ import annotations

import subprocess
import sys

from pipeline import packages
from pipeline.console import UserError, run, say
from pipeline.doctor import permissions
from pipeline.files import read_json
from pipeline.params import load
from stages.schema import Params


def main() -> None:
    load(Params)
    for finding in permissions():
        raise UserError(f"{finding.what}\n  {finding.remedy}")
    if changed := packages.changed():
        say("packages have changed since the pipeline ran: " + "; ".join(changed))
        force("record_packages")
    if stand_in():
        say("data/raw holds a stand-in; trying the dataset that was asked for again")
        force("download")


def force(stage: str) -> None:
    """Runs one stage again, for which DVC sees no reason; exits where it fails."""
    command = ["dvc", "repro", "--quiet", "--force", "--single-item", stage]
    if status := subprocess.run(command).returncode:
        sys.exit(status)


def stand_in() -> bool:
    """Whether data/raw holds another dataset than it was asked for."""
    try:
        about = read_json("data/raw/dataset.json")
    except (OSError, UserError):
        return False
    return about.get("dataset") != about.get("requested")


if __name__ == "__main__":
    run(main)
