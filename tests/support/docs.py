"""What README.md and docs/*.md tell a person to type."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.repository import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(page: Path) -> list[str]:
    """The commands of a page's `sh` blocks, in their order, without comments; continued lines are joined."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.M | re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    found = (re.sub(r"\s+", " ", re.sub(r"(?:^|\s+)# .*", "", line)).strip() for line in lines)
    return [line for line in found if line]


def documented(start: str) -> str:
    """The command of the pages that starts with these words; there must be exactly one."""
    found = {line for page in PAGES for line in commands(page) if line.startswith(start)}
    assert len(found) == 1, f"commands that start with `{start}`: {found}"
    return found.pop()


def written_files(page: Path) -> dict[str, str]:
    """The files that a page shows: a line that begins with a file's path in backquotes, then its content."""
    found = re.findall(r"^`([\w./]+)`[^\n]*\n\n```\w*\n(.*?)^```", page.read_text(), re.M | re.S)
    return dict(found)
