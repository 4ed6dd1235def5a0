"""What a stage's script can reach: the modules it imports, and the sections of params.yaml it loads."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("elbo", "pipeline", "plots", "stages")

# Modules that cannot change an output. A test shows it: equal bytes with console and tracking as no-ops.
EXEMPT = {
    "stages/schema.py",
    "pipeline/console.py",
    "pipeline/identity.py",
    "pipeline/tracking.py",
    "pipeline/turns.py",  # the files that a process takes are those that it would have made
}


def imports(path: Path, root: Path = ROOT) -> set[str]:
    """Files of this project that a file imports, anywhere in it, as paths from the root."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            file = Path(*name.split(".")).with_suffix(".py")
            if name.split(".")[0] in ROOMS and (root / file).is_file():
                found.add(file.as_posix())
    return found


def closure(script: str, root: Path = ROOT) -> set[str]:
    """The script and all that it imports, directly or not; not what is exempt, or what only that imports."""
    reached: set[str] = set()
    waiting = [script]
    while waiting:
        file = waiting.pop()
        if file not in reached and file not in EXEMPT:
            reached.add(file)
            waiting += imports(root / file, root)
    return reached


def loaded_sections(script: Path) -> list[str]:
    """The sections that a script asks `load(Params, …)` for; `{…}` of an f-string becomes `{}`."""
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
