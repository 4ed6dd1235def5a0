"""The repository's root folder, and the sections of params.yaml that a script loads."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def loaded_sections(script: Path) -> list[str]:
    """The sections that a script passes to `load(Params, …)`; `{…}` of an f-string becomes `{}`."""
    sections = []
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "load":
            for argument in node.args[1:]:
                if isinstance(argument, ast.Constant):
                    sections.append(str(argument.value))
                elif isinstance(argument, ast.JoinedStr):
                    parts = (
                        str(part.value) if isinstance(part, ast.Constant) else "{}"
                        for part in argument.values
                    )
                    sections.append("".join(parts))
                else:
                    raise TypeError(f"{script}: load() takes literal sections")
    return sections
