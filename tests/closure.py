"""What a stage's script can reach: the modules it imports, and the sections of params.yaml it loads."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("elbo", "pipeline", "plots", "stages")

# Modules that cannot change an output. A test shows it: equal bytes with console and tracking as no-ops.
EXEMPT = {
    "stages/schema.py",
    "pipeline/console.py",
    "pipeline/identity.py",
    "pipeline/tracking.py",
    "pipeline/guard.py",  # it waits or refuses
    "pipeline/packages.py",  # reached by way of guard; record_packages, which writes by it, declares it
    "pipeline/checkpoints.py",  # a training that went on has the bytes of one that did not stop
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


def closure(script: str, root: Path = ROOT, exempt: set[str] = EXEMPT) -> set[str]:
    """The script and all that it imports, directly or not; not what is exempt, or what only that imports."""
    reached: set[str] = set()
    waiting = [script]
    if (root / "stages/__init__.py").is_file():
        waiting.append("stages/__init__.py")  # Python runs it before the script
    while waiting:
        file = waiting.pop()
        if file not in reached and file not in exempt:
            reached.add(file)
            waiting += imports(root / file, root)
    return reached


def packages(files: set[str], root: Path = ROOT) -> set[str]:
    """Other packages that files import, by import name; not the standard library's, nor for annotations."""
    found = set()
    for file in files:
        tree = ast.parse((root / file).read_text())
        for branch in [node for node in ast.walk(tree) if isinstance(node, ast.If)]:
            if isinstance(branch.test, ast.Name) and branch.test.id == "TYPE_CHECKING":
                branch.body = []
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - set(ROOMS)


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
