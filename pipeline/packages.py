"""Packages as inputs: which can change an output, and which versions of them are installed."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from pipeline.console import UserError, warn
from pipeline.files import read_json, write_json

FOLDER = Path("data/packages")
CONSTRAINTS = Path("constraints.txt")
# By the name a module imports: the packages whose version may show in what it computes or writes.
MATTER = {
    "PIL": ("pillow",),
    "jinja2": ("Jinja2", "MarkupSafe"),
    "latex2mathml": ("latex2mathml",),
    "markdown_it": ("markdown-it-py", "mdurl"),
    "matplotlib": ("matplotlib", "contourpy", "kiwisolver", "pillow", "pyparsing"),
    "mdit_py_plugins": ("mdit-py-plugins",),
    "networkx": ("networkx",),
    "numpy": ("numpy",),
    "pandas": ("pandas",),
    "safetensors": ("safetensors",),
    "sklearn": ("scikit-learn", "scipy"),
    "torch": ("torch",),
    "torchvision": ("torchvision",),
}
# … and those that cannot change one: they check, fetch (by md5), show, wait or track.
NO_MATTER = {"dvc", "filelock", "mlflow", "pooch", "psutil", "pydantic", "requests", "ruamel", "tqdm"}


def installed(package: str) -> str:
    """Its version without the build's label (2.13.0 of 2.13.0+cpu); "missing" if it is not there."""
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return "missing"


def build() -> str:
    """What the installed torch is built for: "cpu", or what and which version ("cuda 13.0").

    Its version does not always say it, and importing it would take a second.
    """
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return "missing"
    text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    found = re.search(r"^(cuda|hip|xpu)\b[^=]*= '([^']+)'", text, re.MULTILINE)
    return f"{found[1]} {found[2]}" if found else "cpu"


def pinned(path: Path = CONSTRAINTS) -> dict[str, str]:
    """The versions in constraints.txt, by normalized name."""
    lines = re.findall(r"^([\w.-]+)==([^\s;+]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {normal(name): number for name, number in lines}


def record(torch_lacks: str = "", folder: Path = FOLDER) -> None:
    """Writes one file for each import name: what is installed of its packages, and what is pinned.

    Args:
        torch_lacks: what the installed torch lacks of what the pinned build has; empty: nothing.
    """
    pins = pinned()
    for name, members in MATTER.items():
        found = {member: installed(member) for member in members}
        wanted = {member: pins.get(normal(member), "not pinned") for member in members}
        for member in members:
            if found[member] != wanted[member]:
                warn(
                    f"{member} {found[member]} is installed, {CONSTRAINTS} has {wanted[member]}: "
                    "`pip install -c constraints.txt -e .` installs that"
                )
        about = {"build": build()} if name == "torch" else {}
        if name == "torch" and torch_lacks:
            warn(f"torch {found['torch']} lacks {torch_lacks}: results will have other bytes")
            about["lacks"] = torch_lacks
        write_json(folder / f"{name}.json", {"installed": found, "pinned": wanted} | about)


def changed(folder: Path = FOLDER) -> list[str]:
    """One line for each package that is not installed as recorded; none where nothing is recorded."""
    lines = []
    for name in MATTER:
        try:
            content = read_json(folder / f"{name}.json")
            recorded = content["installed"]
        except (OSError, UserError, KeyError, TypeError):
            continue
        lines += [
            f"{package}: {installed(package)} is installed, {number} recorded"
            for package, number in recorded.items()
            if installed(package) != number
        ]
        if (built := content.get("build")) and built != build():
            lines.append(f"{name}: a build for {build()} is installed, one for {built} recorded")
    return sorted(set(lines))


def normal(name: str) -> str:
    """A package's name as PEP 503 compares them."""
    return re.sub(r"[-_.]+", "-", name).lower()
