"""`dvc repro` as `make repro` shows it: each stage with its number, and without DVC's hints for git."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator

from pipeline.console import run
from pipeline.guard import stages

# what DVC says once for each stage, whether or not it runs; "cached" only repeats a name
STAGE = re.compile(r"(?:Running stage|Stage) '([^']+)'")
# what it says after each stage, or at the end, and the pipeline's user need not do
HINTS = re.compile(
    r"To track the changes with git, run:|\tgit add |To enable auto staging, run:|\tdvc config core\.auto|"
    r"Use `dvc push` to send|Updating lock file|Generating lock file"
)


def main() -> None:
    # DVC's lines come as they are written; a stage's own go past this program
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    command = ["dvc", "repro", *sys.argv[1:]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as dvc:
        assert dvc.stdout
        interrupted = False
        lines = numbered(dvc.stdout, len(stages()))
        while True:
            try:
                for line in lines:
                    print(line, end="", flush=True)
                break
            except KeyboardInterrupt:  # it came to DVC, too, which says how it ends
                interrupted = True
                lines = iter(dvc.stdout)
    if interrupted:
        raise KeyboardInterrupt
    if dvc.returncode:
        with contextlib.suppress(BrokenPipeError):
            print("`make doctor` looks at what may be wrong here", file=sys.stderr)
        sys.exit(dvc.returncode)


def numbered(lines: Iterable[str], total: int) -> Iterator[str]:
    """DVC's lines without its hints, those of stages with "12 of 24" before them; no two blank ones."""
    seen: dict[str, int] = {}
    blank = False
    for line in lines:
        if HINTS.match(line):
            continue
        if not line.strip():
            blank = True
            continue
        if found := STAGE.match(line):
            number = seen.setdefault(found[1], len(seen) + 1)
            line = f"[{number} of {total}] {line}"
        yield "\n" * blank + line
        blank = False


if __name__ == "__main__":
    run(main)
