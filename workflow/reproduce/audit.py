"""Do equal inputs give equal bytes? `make audit` reproduces two copies of the working tree, by force.

The copies differ in folder, hash seed, locale, time zone, umask and user name. A stage that gives other bytes
from equal inputs is named, with the place.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow.core.params import set_params
from workflow.reproduce.sandbox import copy_tree, repository, reproduce
from workflow.runs.console import run, say
from workflow.runs.lockfile import LOCK, entries

CONTEXT = 30  # bytes to each side of the first difference
FIRST = {"PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C.UTF-8", "USER": "one", "LOGNAME": "one"}
SECOND = {"PYTHONHASHSEED": "2", "TZ": "Pacific/Chatham", "LC_ALL": "tr_TR.UTF-8"}
SECOND |= {"USER": "another-user", "LOGNAME": "another-user", "COLUMNS": "40"}


@dataclass(frozen=True)
class Verdict:
    """Whether one file of an output is the same in both copies."""

    stage: str
    path: str
    difference: str  # where the two first differ; empty: they are identical
    follows: bool  # the stage read something that differs already


def main() -> None:
    parser = argparse.ArgumentParser("python -m workflow.reproduce.audit", description=__doc__)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change params.yaml")
    parser.add_argument("--one-core", action="store_true", help="give the second reproduction one core")
    options = parser.parse_args()
    root = repository()
    with tempfile.TemporaryDirectory(prefix="audit-", ignore_cleanup_errors=True) as folder:
        places = Path(folder, "a"), Path(folder, "another place, with a longer name", "b")
        for place, variables, umask in zip(places, (FIRST, SECOND), (0o022, 0o077), strict=True):
            copy_tree(root, place)
            set_params(place / "params.yaml", *options.set)
            os.environ.update(variables)
            os.umask(umask)
            if options.one_core and variables is SECOND:
                os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            say(f"audit: reproducing in {place}")
            reproduce(place, root, "the pipeline failed")
        verdicts = list(compare(*places))
    for verdict in verdicts:
        print(f"{'DIFFERS' if verdict.difference else 'identical':<9}  {verdict.path}")
    causes = [verdict for verdict in verdicts if verdict.difference and not verdict.follows]
    for verdict in causes:
        print(f"\nstage {verdict.stage} wrote {verdict.path} differently from equal inputs:")
        print(f"  {verdict.difference}")
    if causes:
        count = sum(bool(verdict.difference) for verdict in verdicts)
        stages = ", ".join(dict.fromkeys(verdict.stage for verdict in causes))
        print(f"\naudit: failed, {count} of {len(verdicts)} outputs differ; caused by: {stages}")
        raise SystemExit(1)
    print(f"\naudit: passed, all {len(verdicts)} outputs of two reproductions are identical, byte by byte")


def compare(one: Path, other: Path) -> Iterator[Verdict]:
    """Compares the files of all outputs in two folders, in the order in which the stages ran."""
    differing: set[str] = set()
    for name, entry in entries(one / LOCK).items():
        deps = [dep["path"] for dep in entry.get("deps", [])]
        follows = any(Path(path).is_relative_to(dep) for path in differing for dep in deps)
        for path in sorted(_files(one, entry) | _files(other, entry)):
            difference = first_difference(one / path, other / path)
            if difference:
                differing.add(path)
            yield Verdict(name, path, difference, follows)


def _files(place: Path, entry: dict[str, Any]) -> set[str]:
    """The files of a stage's outputs, those in folders included."""
    outs = [place / out["path"] for out in entry.get("outs", [])]
    files = [file for out in outs for file in (out.rglob("*") if out.is_dir() else [out])]
    return {file.relative_to(place).as_posix() for file in files if not file.is_dir()}


def first_difference(one: Path, other: Path) -> str:
    """Where two files first differ, and the bytes around; empty: nowhere."""
    if not one.is_file() or not other.is_file():
        return f"only the {'second' if other.is_file() else 'first'} reproduction has it"
    contents = one.read_bytes(), other.read_bytes()
    if contents[0] == contents[1]:
        return ""
    pairs = enumerate(zip(*contents, strict=False))
    start = next((place for place, (a, b) in pairs if a != b), min(map(len, contents)))
    left, right = (content[max(0, start - CONTEXT) : start + CONTEXT] for content in contents)
    line = contents[0].count(b"\n", 0, start) + 1
    return f"line {line}, byte {start}: {left!r} and {right!r}"


if __name__ == "__main__":
    run(main)
