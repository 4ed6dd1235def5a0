"""Do equal inputs give equal bytes? `make audit` reproduces the working tree twice, by force, from nothing.

The two copies run in different circumstances: folder, hash seed, locale, time zone, umask, user name. A stage
whose inputs are equal and whose outputs are not has let one of them in, and is named, with the place.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.console import UserError, run, say
from pipeline.lockfile import LOCK, entries
from pipeline.verify import environment, git, repository

CONTEXT = 30  # characters to each side of the first difference
FIRST = {"PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C.UTF-8", "USER": "one", "LOGNAME": "one"}
SECOND = {"PYTHONHASHSEED": "2", "TZ": "Pacific/Chatham", "LC_ALL": "tr_TR.UTF-8"}
SECOND |= {"USER": "another-user", "LOGNAME": "another-user", "COLUMNS": "40"}


@dataclass(frozen=True)
class Verdict:
    """What became of one output.

    Attributes:
        stage, path: it and its stage.
        difference: where the two first differ, in words; empty: they are identical.
        follows: the stage read something that differs already.
    """

    stage: str
    path: str
    difference: str
    follows: bool


def main() -> None:
    options = _options()
    root = repository(head=False)
    with tempfile.TemporaryDirectory(prefix="audit-", ignore_cleanup_errors=True) as folder:
        places = [Path(folder, "a"), Path(folder, "another place, with a longer name", "b")]
        for place, around in zip(places, (FIRST, SECOND), strict=True):
            copy(root, place, options.set)
            say(f"audit: reproducing in {place}")
            reproduce(place, root, around, options.one_core and around is SECOND)
        verdicts = list(compare(*places))
    for verdict in verdicts:
        print(f"{'identical' if not verdict.difference else 'DIFFERS':<9}  {verdict.path}")
    named = [verdict for verdict in verdicts if verdict.difference and not verdict.follows]
    for verdict in named:
        print(f"\nstage {verdict.stage} wrote {verdict.path} differently from equal inputs:")
        print(f"  {verdict.difference}")
    different = sum(bool(verdict.difference) for verdict in verdicts)
    if different:
        stages = ", ".join(dict.fromkeys(verdict.stage for verdict in named))
        print(f"\naudit: failed, {different} of {len(verdicts)} outputs differ; to be mended: {stages}")
        raise SystemExit(1)
    print(f"\naudit: passed, all {len(verdicts)} outputs of two reproductions are identical, byte by byte")


def copy(root: Path, to: Path, settings: list[str]) -> None:
    """What git has or would take of the working tree, in a repository of its own, without its results."""
    listed = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        source, target = root / name, to / name
        made = name == str(LOCK) or (name.startswith("reports/") and not name.endswith(".gitignore"))
        if made or not source.is_file():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)
    git(to, "init", "--quiet")
    raw = Path("data/raw")
    if (root / raw).is_dir():
        shutil.copytree(root / raw, to / raw)  # so that nothing is downloaded twice
    change(to / "params.yaml", *settings)


def change(path: Path, *settings: str) -> None:
    """Sets each `section.key=value` in a params.yaml.

    Raises:
        UserError: there is no such key.
    """
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 1000  # a line stays a line
    content = yaml.load(path.read_text(encoding="utf-8"))
    for setting in settings:
        name, _, value = setting.partition("=")
        *sections, key = name.split(".")
        inner = content
        for section in sections:
            inner = inner.get(section, {})
        if key not in inner:
            raise UserError(f"params.yaml has no {name}")
        inner[key] = YAML(typ="safe").load(value)
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(content, file)


def reproduce(place: Path, root: Path, around: dict[str, str], one_core: bool) -> None:
    """Runs the pipeline by force.

    Raises:
        UserError: it failed.
    """

    def unlike() -> None:
        os.umask(0o077 if around is SECOND else 0o022)
        if one_core:
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    command = [sys.executable, "-m", "dvc", "repro", "--force", "--no-run-cache"]
    done = subprocess.run(command, cwd=place, env=environment(place, root) | around, preexec_fn=unlike)
    if done.returncode:
        raise UserError(f"the pipeline does not run (see above; exit code {done.returncode})")


def compare(one: Path, other: Path) -> Iterator[Verdict]:
    """All outputs, in the order in which the stages ran."""
    stages = entries(one / LOCK)
    differing: set[str] = set()
    for name, entry in stages.items():
        follows = any(_within(dep["path"], path) for dep in entry.get("deps", []) for path in differing)
        for path in sorted(_files(one, entry) | _files(other, entry)):
            difference = first_difference(one / path, other / path)
            if difference:
                differing.add(path)
            yield Verdict(name, path, difference, follows)


def _within(one: str, other: str) -> bool:
    return f"{other}/".startswith(f"{one}/") or f"{one}/".startswith(f"{other}/")


def _files(place: Path, entry: dict[str, Any]) -> set[str]:
    """The files of a stage's outputs, folders taken apart."""
    found = set()
    for out in entry.get("outs", []):
        path = place / out["path"]
        files = path.rglob("*") if path.is_dir() else [path]
        found |= {file.relative_to(place).as_posix() for file in files if not file.is_dir()}
    return found


def first_difference(one: Path, other: Path) -> str:
    """Where two files first differ, and what it looks like; empty: nowhere."""
    if not one.is_file() or not other.is_file():
        return f"it is there in {'the second' if other.is_file() else 'the first'} reproduction only"
    left, right = one.read_bytes(), other.read_bytes()
    if left == right:
        return ""
    if left.count(b"\0") or right.count(b"\0"):
        pairs = zip(left, right, strict=False)
        at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))
        return f"from byte {at} of {len(left)} and {len(right)}"
    texts = [content.decode("utf-8", errors="replace") for content in (left, right)]
    lines = [text.splitlines() for text in texts]
    row = next((i for i, (a, b) in enumerate(zip(*lines, strict=False)) if a != b), min(map(len, lines)))
    excerpts = [_around(own[row] if row < len(own) else "", lines[1 - k], row) for k, own in enumerate(lines)]
    return f"line {row + 1}: {excerpts[0]!r} and {excerpts[1]!r}{_kind(lines, row)}"


def _around(line: str, others: list[str], row: int) -> str:
    other = others[row] if row < len(others) else ""
    pairs = zip(line, other, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(line), len(other)))
    return line[max(0, at - CONTEXT) : at + CONTEXT]


def _kind(lines: list[list[str]], row: int) -> str:
    """What sort of thing it seems to be."""
    pair = [own[row] if row < len(own) else "" for own in lines]
    tests: dict[str, Callable[[], bool]] = {
        "a path": lambda: any(re.search(r"/audit-\w+/", line) for line in pair),
        "an order": lambda: (
            sorted(lines[0]) == sorted(lines[1]) or sorted(re.findall(r"\w+", pair[0])) == sorted(
                re.findall(r"\w+", pair[1])
            )
        ),
        "a clock": lambda: all(
            re.search(r"\d{4}-\d\d-\d\d|\d\d:\d\d|\b1[789]\d{8}", line) for line in pair
        ),
    }  # fmt: skip
    found = next((kind for kind, test in tests.items() if test()), "")
    return f" ({found}, by its looks)" if found else ""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.audit", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of params.yaml, in both copies"
    )
    parser.add_argument("--one-core", action="store_true", help="give the second reproduction one core")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
