"""`make deps`: writes into dvc.yaml which modules and packages each stage's script reaches.

A dependency is each module that can change a byte of an output: all that the script imports, directly or not.
Of `workflow/`, only `workflow/core` can, and is one dependency as a folder. Everything else in dvc.yaml,
comments too, stays as it is.
"""

import ast
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from workflow.core.files import write_bytes
from workflow.core.packages import FOLDER, FOLDERS
from workflow.runs.console import run
from workflow.runs.preflight import FIRST
from workflow.runs.worktree import conflict

DVC_YAML = Path("dvc.yaml")
CORE = "workflow/core"
# The modules of the schema decide whether a stage runs, and cannot change what it writes.
WITHOUT_EFFECT = "stages/schema"
# from the command of a stage to the end of its deps
STAGE = re.compile(r"( cmd: python -m workflow (\w+)\b(?:(?! cmd: ).|\n)*?\n( +)deps:\n)((?:\3  - .*\n)*)")
WRITTEN_HERE = re.compile(rf" +- (?:(?!{WITHOUT_EFFECT})[\w/]+\.py|{CORE}|{FOLDER}/\w+)\s")


def main() -> None:
    if error := conflict():
        raise error
    before = DVC_YAML.read_text(encoding="utf-8")
    after = updated(before)
    if after == before:
        print("dvc.yaml is up to date")
        return
    write_bytes(DVC_YAML, after.encode())
    print("dvc.yaml updated: `git diff dvc.yaml` shows how; `dvc repro` runs the stages it concerns")


def updated(text: str, root: Path = Path()) -> str:
    """The text of a dvc.yaml with the modules and packages that its stages reach."""

    def update(stage: re.Match[str]) -> str:
        head, script, margin, items = stage.groups()
        kept = [item for item in items.splitlines(keepends=True) if not WRITTEN_HERE.match(item)]
        return head + "".join([*kept, *(f"{margin}  - {dep}\n" for dep in dependencies(script, root))])

    return STAGE.sub(update, text)


def dependencies(stage: str, root: Path = Path()) -> list[str]:
    """The packages, then the modules that stages/STAGE.py reaches."""
    reached = closure(f"stages/{stage}.py", root)
    modules = {CORE if file.startswith(f"{CORE}/") else file for file in reached} | {CORE}
    names = set() if stage in FIRST else packages(reached, root) & FOLDERS.keys()
    return [*sorted({str(FOLDERS[name]) for name in names}), *sorted(modules)]


def closure(script: str, root: Path = Path()) -> set[str]:
    """The script and all modules it reaches that can change an output, as paths from the root."""
    reached: set[str] = set()
    waiting = [script]
    while waiting:
        file = waiting.pop()
        without = file.startswith(WITHOUT_EFFECT) or (
            file.startswith("workflow/") and not file.startswith(CORE)
        )
        if file not in reached and not without:
            reached.add(file)
            waiting += imports(root / file, root)
    return reached


def imports(path: Path, root: Path = Path()) -> set[str]:
    """Files of this project that a file imports, anywhere in it, as paths from the root."""
    names = _imported(ast.parse(path.read_text(encoding="utf-8")))
    return {file for name in names if (root / (file := name.replace(".", "/") + ".py")).is_file()}


def packages(files: Iterable[str], root: Path = Path()) -> set[str]:
    """Other packages that files import, by import name; not the standard library's, nor for annotations."""
    found = set()
    for file in files:
        tree = ast.parse((root / file).read_text(encoding="utf-8"))
        for branch in ast.walk(tree):
            if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING":
                branch.body = []
        found |= {name.split(".")[0] for name in _imported(tree)}
    return {name for name in found - sys.stdlib_module_names if not (root / name).is_dir()}


def _imported(tree: ast.Module) -> set[str]:
    """The dotted names of all that is imported, by `import` or by `from`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


if __name__ == "__main__":
    run(main)
