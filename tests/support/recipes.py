"""The recipes of docs/extend.md: what the page says to write, add and delete, carried out in a project."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.conftest import Project
from tests.support.repository import ROOT

PAGE = ROOT / "docs/extend.md"
BLOCK = re.compile(r"(?:^`([\w./]+)`\n\n)?^```(\w+)\n(.*?)^```", re.M | re.S)
YAML_ = YAML()
YAML_.width = 1000
YAML_.preserve_quotes = True


def sections() -> dict[str, str]:
    """The text of each recipe by its heading, up to a colon."""
    parts = re.split(r"^## (.*)\n", PAGE.read_text(), flags=re.M)[1:]
    return {heading.partition(":")[0]: text for heading, text in zip(parts[::2], parts[1::2], strict=True)}


def variants() -> dict[str, dict[str, Any]]:
    """The lines of each variant of the page that differ from `tuned`."""
    found: dict[str, dict[str, Any]] = {}
    for _, language, text in BLOCK.findall(PAGE.read_text()):
        if language == "yaml":
            found |= YAML(typ="safe").load(text).get("vae", {})
    return found


def carry_out(project: Project, recipe: str) -> None:
    """Does what a recipe says, in the order of its blocks; then deletes the sections of its table."""
    text = sections()[recipe]
    for file, language, block in BLOCK.findall(text):
        if language == "yaml":
            set_params(project.path / "params.yaml", YAML(typ="safe").load(block))
        elif language == "diff":
            patch(project.path / file, block)
        elif language == "sh":
            project.run("sh", "-ec", block)
        else:
            assert not (project.path / file).exists()
            (project.path / file).write_text(block)
    for file, cell in re.findall(r"^\| `([\w./]+)` \| (.*) \|$", text, re.M):
        path = project.path / file
        for name in re.findall(r"`([\w.]+)`", cell):
            delete = delete_definition if path.suffix == ".py" else delete_section
            path.write_text(delete(path.read_text(), name.split(".")))


def set_params(path: Path, changes: dict[str, Any]) -> None:
    """Sets values of sections; a new variant is a copy of `tuned`."""
    params = YAML_.load(path)
    for name, lines in changes.pop("vae", {}).items():
        unknown = lines.keys() - params["vae"]["tuned"].keys()
        assert not unknown, f"{name}: {unknown}"
        params["vae"][name] = {**params["vae"]["tuned"], **lines}
    for section, lines in changes.items():
        params[section].update(lines)
    YAML_.dump(params, path)


def patch(path: Path, block: str) -> None:
    """Applies a diff of one place; its lines must stand in the file exactly once."""
    lines = block.splitlines(keepends=True)
    old, new = ("".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +"))
    text = path.read_text()
    assert f"\n{text}".count(f"\n{old}") == 1, f"{path.name} does not have once:\n{old}"
    path.write_text(f"\n{text}".replace(f"\n{old}", f"\n{new}").removeprefix("\n"))


def delete_section(text: str, keys: list[str]) -> str:
    """A text of YAML without a section, given by its keys from the outermost on."""
    lines = text.splitlines(keepends=True)
    start, end = 0, len(lines)
    for depth, key in enumerate(keys):
        margin = "  " * depth
        start = next(place for place in range(start, end) if lines[place].startswith(f"{margin}{key}:"))
        outside = re.compile(rf" {{0,{len(margin)}}}[^\s]")
        inner = (place for place in range(start + 1, end) if outside.match(lines[place]))
        end = next(inner, end)
        start += depth < len(keys) - 1
    return "".join(lines[:start] + lines[end:])


def delete_definition(text: str, names: list[str]) -> str:
    """A module's text without a class, a variable, or a field of a class."""
    body: list[ast.stmt] = ast.parse(text).body
    for name in names:
        node = next(node for node in body if name in defined(node))
        body = getattr(node, "body", [])
    lines = text.splitlines(keepends=True)
    return "".join(lines[: node.lineno - 1] + lines[node.end_lineno :])


def defined(node: ast.stmt) -> list[str]:
    targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
    return [getattr(node, "name", ""), *(target.id for target in targets if isinstance(target, ast.Name))]
