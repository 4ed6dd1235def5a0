"""Whether HEAD gives the committed numbers again: `python -m pipeline.verify`, in a clean clone, by force.

`pipeline.stale` asks whether what is committed belongs together; this module, whether it is so. The clone
loses the committed results before the pipeline runs there; then each number of reports/ is compared.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pipeline import packages
from pipeline.comparison import Finding, Result, compare
from pipeline.console import UserError, run, say, warn
from pipeline.files import read_json
from pipeline.lockfile import LOCK, entries
from pipeline.params import read
from pipeline.tolerances import load

ROWS = 60  # of the table at most
DONE = Path(".git", "reproduced")  # in a clone whose pipeline ran to its end: the commit
# variables of an outer dvc, of the user's MLflow, and of a git hook that may have started this
LEFT_OUT = ("DVC_", "MLFLOW_", "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX", "PYTHONSAFEPATH")


def main() -> None:
    options = _options()
    rules = load()
    root = repository()
    with tempfile.TemporaryDirectory(prefix="verify-", ignore_cleanup_errors=True) as folder:
        committed = _clone(root, Path(folder, "committed"))
        if options.against:
            obtained = _kept(options.against.resolve(), root)
        else:
            obtained = _clone(root, _new(options.keep) if options.keep else Path(folder, "clone"))
            reproduce(obtained, root)
        ignored = git(obtained, "ls-files", "--others", "--ignored", "--exclude-standard", "reports")
        result = compare(committed, obtained, rules, ignored.splitlines(), tolerated(committed, obtained))
    print(f"\n{text(result)}", flush=True)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(markdown(result))
    if result.failed:
        raise SystemExit(1)


def repository(*, head: bool = True) -> Path:
    """The git repository around this folder.

    Args:
        head: its HEAD is what is asked for: it must have a dvc.lock.

    Raises:
        UserError: there is none, or its HEAD has no dvc.lock.
    """
    root = Path(git(Path.cwd(), "rev-parse", "--show-toplevel", fault="this is no git repository"))
    if not head:
        return root
    name = git(root, "rev-parse", "--short", "HEAD", fault=f"{root} has no commit yet")
    git(root, "cat-file", "-e", f"HEAD:{LOCK}", fault=f"HEAD of {root} ({name}) has no {LOCK}")
    say(f"verify: HEAD of {root} ({name})")
    if changed := git(root, "status", "--porcelain"):
        count = len(changed.splitlines())
        warn(f"what is verified is HEAD; {count} changed or new files are not committed, and not part of it")
    return root


def reproduce(clone: Path, root: Path) -> None:
    """Runs the pipeline by force in a clone of `root`, from no results.

    Raises:
        UserError: it failed there.
    """
    # DVC leaves out a stage whose outputs are there and match, and a report that no stage makes would
    # stay as it is: nothing that is compared may be there before
    for path in [clone / LOCK, *(clone / "reports").rglob("*")]:
        if path.is_file() and path.name != ".gitignore":
            path.unlink()
    raw = Path("data", "raw")
    if (root / raw).is_dir():
        try:  # so that nothing is downloaded twice; the stage checks md5 sums
            shutil.copytree(root / raw, clone / raw)
        except OSError as error:
            warn(f"{root / raw} could not be copied whole: {error}")
    command = [sys.executable, "-m", "dvc", "repro", "--force", "--no-run-cache"]
    status = subprocess.run(command, cwd=clone, env=environment(clone, root)).returncode
    if status:
        raise UserError(f"the pipeline of HEAD does not run in a clean clone (see above; exit code {status})")
    (clone / DONE).write_text(git(clone, "rev-parse", "HEAD"), encoding="utf-8")


def environment(clone: Path, root: Path) -> dict[str, str]:
    """This process's environment for the pipeline in `clone`: this Python, and no MLflow."""
    kept = _environment()
    kept["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    kept["MLFLOW_TRACKING_URI"] = "none"
    # DVC would report from a process that outlives it and writes into a clone that is being removed
    kept["DVC_NO_ANALYTICS"] = "1"
    # and would leave a folder for each clone in /var/tmp
    kept["DVC_SITE_CACHE_DIR"] = str(clone / ".dvc" / "tmp")
    mirror = kept.get("MNIST_MIRROR", "").strip()
    if mirror and not mirror.startswith(("http://", "https://")):
        # a relative folder is meant from here
        kept["MNIST_MIRROR"] = str(Path(root, Path(mirror.removeprefix("file://")).expanduser()))
    return kept


def tolerated(committed: Path, obtained: Path) -> str:
    """Why other bytes than the committed ones are no fault here, in a clause; empty: they are one."""
    with contextlib.suppress(OSError, UserError):
        if lacks := read_json(obtained / packages.FOLDER / "torch.json").get("lacks"):
            return f"this torch lacks {lacks}"
    try:
        portable = read(committed / "params.yaml")["compute"]["portable"]
    except (KeyError, TypeError):
        portable = False
    return not_portable() if portable is True else "compute.portable is false"


def not_portable() -> str:
    """Why `compute.portable` may not hold on this machine, in a clause; empty: it holds."""
    if (build := packages.build()) != "cpu":
        return f"this torch is built for {build}, and not for CPUs alone"
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return f"this processor is no x86-64 but {platform.machine()}"
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return "it could be seen only on Linux whether this processor has AVX2"
    if " avx2" not in info.read_text(encoding="utf-8"):
        return "this processor has no AVX2"
    return ""


def text(result: Result) -> str:
    """The result for a terminal, 110 columns wide: findings by file, each reason once, the verdict last."""
    lines = [result.heading]
    file = reason = ""
    shown, more = _shown(result)
    for finding in shown:
        if finding.file != file:
            file, reason = finding.file, ""
            lines += ["", file, _line("", "committed", "obtained", "difference", "allowed")]
        words = (finding.committed, finding.obtained, finding.difference, finding.allowed)
        lines.append(_line(("! " if finding.fails else "  ") + finding.place, *words))
        if finding.reason != reason:
            reason = finding.reason
            lines.append(f"      {reason}")
    lines += [f"\n… and {more} more"] if more else []
    if result.largest:
        closest = result.largest
        lines += [
            f"\nOf what is allowed, the largest is {closest.excess:.0%} of its limit: "
            f"{closest.difference} of {closest.allowed},\n  {closest.file}: {closest.place}"
        ]
    return "\n".join([*lines, "", verdict(result)])


def markdown(result: Result) -> str:
    """The same for the summary of a GitHub job."""
    shown, more = _shown(result)
    lines = [f"### {verdict(result)}", "", result.heading, ""]
    if shown:
        lines += ["| file | place | committed | obtained | difference | allowed | reason |"]
        lines += ["| --- | --- | ---: | ---: | ---: | ---: | --- |"]
    for item in shown:
        words = (item.committed, item.obtained, item.difference, item.allowed, item.reason)
        cells = [item.file, item.place, *words]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, *([f"\n… and {more} more"] if more else []), "", ""])


def verdict(result: Result) -> str:
    """The last line."""
    compared = f"{_count(result.numbers, 'number')} in {_count(result.files, 'file')} compared"
    if not result.failed:
        return f"verify: passed, {compared}"
    files = {finding.file for finding in result.findings if finding.fails}
    failed = f"{_count(result.failed, 'difference')} in {_count(len(files), 'file')}"
    return f"verify: failed, {failed}; {compared}"


def _shown(result: Result) -> tuple[list[Finding], int]:
    """The rows of the table, and how many find no place: of each file the largest first."""
    ranks: dict[str, int] = {}
    ranked = []
    for finding in result.findings:
        rank = ranks[finding.file] = ranks.get(finding.file, 0) + 1
        ranked.append((rank, finding))
    ranked.sort(key=lambda pair: pair[0])
    chosen = [finding for _, finding in ranked[:ROWS]]
    order = list(ranks)
    return sorted(chosen, key=lambda finding: order.index(finding.file)), len(ranked) - len(chosen)


def _line(place: str, *words: str) -> str:
    return f"{place:<46}" + "".join(f"  {_short(word):>14}" for word in words)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _short(word: str) -> str:
    return word if len(word) <= 14 else f"{word[:13]}…"


def _clone(root: Path, to: Path) -> Path:
    commit = git(root, "rev-parse", "HEAD")
    git(root, "clone", "--quiet", "--no-checkout", str(root), str(to))
    git(to, "checkout", "--quiet", "--detach", commit)
    return to


def _new(folder: Path) -> Path:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already, and not empty: name a new folder to keep the clone in")
    return folder.resolve()


def _kept(folder: Path, root: Path) -> Path:
    """A clone that `--keep` left, of the code and params that HEAD has; reports and lock may be others."""
    if not (folder / DONE).is_file():
        raise UserError(f"{folder} is no clone whose pipeline ran to its end; `--keep {folder}` makes one")
    commit = (folder / DONE).read_text(encoding="utf-8")
    stages = entries(folder / LOCK).values()
    deps = {dep["path"] for stage in stages for dep in stage.get("deps", [])}
    read_by_it = ["dvc.yaml", "params.yaml", *sorted(dep for dep in deps if not dep.startswith("reports/"))]
    fault = f"{folder} is no clone of this repository"
    if changed := git(root, "diff", "--name-only", commit, "HEAD", "--", *read_by_it, fault=fault):
        raise UserError(f"{folder} was made by other code or params than HEAD has:\n  {changed}")
    return folder


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(LEFT_OUT)}


def git(folder: Path, *arguments: str, fault: str = "git failed") -> str:
    """What git prints, run in a folder.

    Raises:
        UserError: it fails; the message is `fault` and git's own.
    """
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=_environment())
    except FileNotFoundError:
        raise UserError("git is not installed") from None
    if done.returncode:
        raise UserError(f"{fault}\n  {' '.join(done.stderr.split())}")
    return done.stdout.strip()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.verify", description=(__doc__ or "").split("\n")[0]
    )
    only_one = parser.add_mutually_exclusive_group()
    only_one.add_argument("--keep", type=Path, metavar="FOLDER", help="a new folder, to keep the clone in")
    only_one.add_argument(
        "--against", type=Path, metavar="FOLDER", help="compare with a clone that was kept; nothing runs"
    )
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
