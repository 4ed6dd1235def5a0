"""`make verify`: HEAD reproduces its committed results, by force, in a clean clone.

First `make check` has to pass there. Then the clone loses the committed results, the pipeline runs, and each
number of reports/ is compared with the committed one.
"""

import argparse
import contextlib
import os
import platform
import tempfile
from pathlib import Path

import pandas as pd

from workflow.core import packages
from workflow.core.errors import UserError
from workflow.core.files import read_json, read_yaml
from workflow.reproduce.compare import Finding, Result, compare, load_rules
from workflow.reproduce.sandbox import git, repository, reproduce, run_module
from workflow.runs.console import run, say, warn
from workflow.runs.lockfile import LOCK, entries

SHOWN = 10  # failures of a file with the same reason
SHOWN_COLUMNS = ["place", "committed", "obtained", "difference", "allowed"]
DONE = Path(".git", "reproduced")  # in a clone whose pipeline succeeded: the commit


def main() -> None:
    parser = argparse.ArgumentParser("python -m workflow.reproduce.verify", description=__doc__)
    folders = parser.add_mutually_exclusive_group()
    folders.add_argument("--keep", type=Path, metavar="FOLDER", help="a new folder, to keep the clone in")
    folders.add_argument(
        "--against", type=Path, metavar="FOLDER", help="compare with a kept clone; runs nothing"
    )
    options = parser.parse_args()
    root = repository()
    name = git(root, "rev-parse", "--short", "HEAD", fault=f"{root} has no commit yet")
    git(root, "cat-file", "-e", f"HEAD:{LOCK}", fault=f"HEAD of {root} ({name}) has no {LOCK}")
    rules = load_rules()
    say(f"verify: HEAD of {root} ({name})")
    if changed := git(root, "status", "--porcelain"):
        warn(f"{len(changed.splitlines())} changed or new files are not in HEAD, and not verified")
    with tempfile.TemporaryDirectory(prefix="verify-", ignore_cleanup_errors=True) as folder:
        committed = Path(folder, "committed")
        git(root, "clone", "--quiet", str(root), str(committed))
        run_module(committed, root, "workflow.reproduce.check", fault="HEAD is not consistent")
        if options.against:
            obtained = options.against.resolve()
            _check_kept(obtained, root)
        else:
            obtained = (options.keep or Path(folder, "clone")).resolve()
            fault = f"cannot clone to {obtained}"
            git(root, "clone", "--quiet", str(root), str(obtained), fault=fault)
            reproduce(obtained, root, "the pipeline of HEAD does not run in a clean clone")
            (obtained / DONE).write_text(git(obtained, "rev-parse", "HEAD"), encoding="utf-8")
        ignored = git(obtained, "ls-files", "--others", "--ignored", "--exclude-standard", "reports")
        result = compare(committed, obtained, rules, ignored.splitlines(), tolerated(committed, obtained))
    print(f"\n{text(result)}", flush=True)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(f"```\n{text(result)}\n```\n")
    if result.failures:
        raise SystemExit(1)


def tolerated(committed: Path, obtained: Path) -> str:
    """Why other bytes than the committed ones are no fault here, in a clause; empty: they are one."""
    with contextlib.suppress(OSError, UserError):
        if lacks := read_json(obtained / packages.FOLDERS["torch"] / "torch.json").get("lacks"):
            return f"this torch lacks {lacks}"
    compute = read_yaml(committed / "params.yaml").get("compute")
    if not isinstance(compute, dict) or compute.get("portable") is not True:
        return "compute.portable is false"
    if (build := packages.build()) != "cpu":
        return f"this torch is built for {build}, not for CPUs alone"
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return f"this processor is no x86-64 but {platform.machine()}"
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return "only Linux tells whether this processor has AVX2"
    return "" if " avx2" in info.read_text(encoding="utf-8") else "this processor has no AVX2"


def text(result: Result) -> str:
    """The result for a terminal: the largest failures by file and reason, the verdict last."""
    lines = [result.heading]
    failures = pd.DataFrame(result.failures, columns=list(Finding.__annotations__))
    for (file, reason), group in failures.groupby(["file", "reason"], sort=False):
        table = group.head(SHOWN)[SHOWN_COLUMNS].to_string(index=False, max_colwidth=32)
        more = [f"… and {len(group) - SHOWN} more"] if len(group) > SHOWN else []
        lines += [f"\n{file}\n  {reason}", table, *more]
    if inside := [finding for finding in result.findings if finding.excess <= 1]:
        closest = max(inside, key=lambda finding: finding.excess)
        lines += [
            f"\nOf the allowed differences, the largest is {closest.excess:.0%} of its limit: "
            f"{closest.difference} of {closest.allowed},\n  {closest.file}: {closest.place}"
        ]
    verdict = f"failed, differences: {len(failures):,}" if result.failures else "passed"
    lines += ["", f"verify: {verdict}; {result.numbers:,} numbers in {result.files} files compared"]
    return "\n".join(lines)


def _check_kept(folder: Path, root: Path) -> None:
    """Raises UserError unless `--keep` made the clone, from the code and params that HEAD has."""
    if not (folder / DONE).is_file():
        raise UserError(f"the pipeline did not succeed in {folder}; `--keep {folder}` makes such a clone")
    commit = (folder / DONE).read_text(encoding="utf-8")
    deps = {dep["path"] for stage in entries(folder / LOCK).values() for dep in stage.get("deps", [])}
    inputs = ["dvc.yaml", "params.yaml", *sorted(dep for dep in deps if not dep.startswith("reports/"))]
    fault = f"{folder} is no clone of this repository"
    if changed := git(root, "diff", "--name-only", commit, "HEAD", "--", *inputs, fault=fault):
        raise UserError(f"{folder} was made from other code or params than HEAD has:\n  {changed}")


if __name__ == "__main__":
    run(main)
