"""Packages as inputs: which can change an output, and which versions of them are installed."""

import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from packaging.utils import canonicalize_name

from workflow.core.errors import UserError
from workflow.core.files import read_json, write_json

FOLDER = Path("data/packages")
CONSTRAINTS = Path("constraints.txt")
# The packages whose version can change an output: by import name, with those that it brings along, in groups
# that mostly change together. A stage depends on the groups of what it imports.
GROUPS: dict[str, dict[str, tuple[str, ...]]] = {
    "arithmetic": {
        "numpy": ("numpy",),
        "pandas": ("pandas",),
        "safetensors": ("safetensors",),
        "torch": ("torch",),
        "torchvision": ("torchvision",),
    },
    "drawing": {
        "PIL": ("pillow",),
        "matplotlib": ("matplotlib", "contourpy", "kiwisolver", "pillow", "pyparsing"),
    },
    "learning": {"sklearn": ("scikit-learn", "scipy")},
    "pages": {
        "jinja2": ("Jinja2", "MarkupSafe"),
        "latex2mathml": ("latex2mathml",),
        "markdown_it": ("markdown-it-py", "mdurl"),
        "mdit_py_plugins": ("mdit-py-plugins",),
    },
}
OUTPUT_PACKAGES = {name: members for group in GROUPS.values() for name, members in group.items()}
FOLDERS = {name: FOLDER / group for group, names in GROUPS.items() for name in names}
# These cannot: they check, fetch (by md5), show, wait or track.
OTHER_PACKAGES = {
    "dvc", "filelock", "mlflow", "networkx", "packaging", "pooch", "psutil", "pydantic", "requests", "ruamel",
    "tqdm",
}  # fmt: skip


def installed(package: str) -> str:
    """A package's version without the label of its build (2.13.0 of 2.13.0+cpu), or "missing"."""
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return "missing"


def build() -> str:
    """What the installed torch is built for: "cpu", or for example "cuda 13.0". Does not import it."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return "missing"
    text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    found = re.search(r"^(cuda|hip|xpu)\b[^=]*= '([^']+)'", text, re.MULTILINE)
    return f"{found[1]} {found[2]}" if found else "cpu"


def pinned(path: Path = CONSTRAINTS) -> dict[str, str]:
    """The versions in constraints.txt, by normalized name."""
    lines = re.findall(r"^([\w.-]+)==([^\s;+]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {canonicalize_name(name): number for name, number in lines}


def record(torch_lacks: str = "") -> list[str]:
    """Writes the installed and the pinned versions, a file for each import name; returns warnings.

    `torch_lacks` says what the pinned torch has and the installed one has not.
    """
    pins, warnings = pinned(), []
    for name, members in OUTPUT_PACKAGES.items():
        found = {member: installed(member) for member in members}
        expected = {member: pins.get(canonicalize_name(member), "not pinned") for member in members}
        warnings += [
            f"{member} {found[member]} is installed, {CONSTRAINTS} has {expected[member]}: "
            "`pip install -c constraints.txt -e .` installs that"
            for member in members
            if found[member] != expected[member]
        ]
        about = {"build": build()} if name == "torch" else {}
        if name == "torch" and torch_lacks:
            warnings.append(f"torch {found['torch']} lacks {torch_lacks}: results will have other bytes")
            about["lacks"] = torch_lacks
        write_json(FOLDERS[name] / f"{name}.json", {"installed": found, "pinned": expected} | about)
    return warnings


def changed() -> list[str]:
    """One line for each package that is not installed as recorded; none where nothing is recorded."""
    lines = set()
    for name in OUTPUT_PACKAGES:
        with suppress(OSError, UserError, KeyError):
            recorded = read_json(FOLDERS[name] / f"{name}.json")
            lines |= {
                f"{package}: {installed(package)} is installed, {number} recorded"
                for package, number in recorded["installed"].items()
                if installed(package) != number
            }
            if (built := recorded.get("build")) and built != build():
                lines.add(f"{name}: a build for {build()} is installed, one for {built} recorded")
    return sorted(lines)
