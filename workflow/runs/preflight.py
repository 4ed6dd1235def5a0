"""Checks before a stage that DVC runs: no other process runs it, and packages and inputs are as recorded."""

import re
from pathlib import Path
from typing import Any

from workflow.core import packages
from workflow.core.errors import UserError
from workflow.core.files import md5, read_yaml
from workflow.runs import lockfile
from workflow.runs.identity import main_repository
from workflow.runs.locks import acquire_stage_lock

FIRST = ("check_params", "record_packages")  # when they run, there is nothing to compare with


def check(stage: str) -> None:
    """Waits for another process that runs this stage; raises a UserError if packages or inputs differ."""
    home = Path(__file__).resolve().parents[2]
    if home != Path.cwd().resolve():
        raise UserError(
            f"the code of {home} would run in {Path.cwd()}\n"
            "  Unset PYTHONSAFEPATH: a stage runs the code of its own folder."
        )
    acquire_stage_lock(stage)
    if stage in FIRST:
        return
    if changed := packages.changed():
        raise UserError(
            "installed packages differ from data/packages:\n  "
            + "\n  ".join(changed)
            + "\n  `make repro` records what is installed, and reruns what depends on it;"
            + "\n  `pip install -c constraints.txt -e .` installs the pinned packages again."
        )
    if damaged := damaged_inputs(stage):
        raise UserError(
            f"inputs of {stage} differ from dvc.lock:\n  "
            + "\n  ".join(damaged)
            + "\n  `make doctor` finds what is damaged, in DVC's cache too, and repairs it."
        )


def damaged_inputs(stage: str) -> list[str]:
    """The cached files that a stage reads and whose md5 differs from dvc.lock, one line each.

    DVC trusts what it takes from its cache, and would not see a flipped bit there.
    """
    try:
        outputs = lockfile.outputs(lockfile.entries())
    except (OSError, UserError):  # DVC has to report it
        return []
    deps = declared_deps(stage)
    return [
        f"{path}: its md5 differs from {sum_} in dvc.lock"
        for path, sum_ in lockfile.files(outputs, main_repository() / lockfile.CACHE).items()
        if any(path == dep or path.startswith(f"{dep}/") for dep in deps)
        and Path(path).is_file()
        and md5(path) != sum_
    ]


def declared_deps(stage: str) -> list[str]:
    """The deps of a stage in dvc.yaml. To ask DVC would cost each stage a second."""
    name, _, member = stage.partition("@")
    entry = read_yaml("dvc.yaml")["stages"].get(name, {})
    deps = entry.get("do", entry).get("deps", [])
    scope = read_yaml() if "${" in str(entry) else {}
    items = entry.get("foreach", {})
    if isinstance(items, str):  # ${section} of params.yaml
        items = scope.get(items.strip("${}"), {})
    scope |= {"key": member, "item": items.get(member, member) if isinstance(items, dict) else member}

    def value(found: re.Match[str]) -> str:
        at: Any = scope
        for key in found[1].split("."):
            at = at.get(key, member) if isinstance(at, dict) else member
        return str(at)

    return [re.sub(r"\$\{([\w.]+)\}", value, dep) for dep in deps]
