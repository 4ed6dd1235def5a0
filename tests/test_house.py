"""Rules of the code: allowed imports, file sizes, and that dvc.yaml declares what stages read."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Project, commit
from tests.support.repository import ROOT, loaded_sections
from workflow.core.packages import OTHER_PACKAGES, OUTPUT_PACKAGES
from workflow.reproduce import deps
from workflow.reproduce.check import differences
from workflow.runs import dvc_repo
from workflow.runs.preflight import FIRST
from workflow.runs.worktree import undeclared_files
from workflow.tracking import export

# The packages that each package may import. Subpackages of workflow/ come before workflow/ itself.
ALLOWED_IMPORTS = {
    "workflow/core": set(),
    "workflow/runs": {"workflow/core"},
    "workflow/tracking": {"workflow/core", "workflow/runs"},
    "workflow/reproduce": {"workflow/core", "workflow/runs"},
    "workflow/doctor": {"workflow/core", "workflow/runs"},
    "workflow": {"workflow/core", "workflow/runs", "workflow/tracking"},
    "elbo": set(),
    "plots": set(),
    "sources": {"workflow/core"},
    "pages": {"plots", "workflow/core", "workflow/runs"},
    "stages": {"elbo", "plots", "sources", "pages", "workflow", "workflow/core", "workflow/runs"},
}
# words of this project's experiments; `dataset` and `model` are general
EXPERIMENT_WORDS = r"vae|mnist|classifier|quadratic|annuli|elbo"


def package_of(file: str) -> str:
    return next(name for name in ALLOWED_IMPORTS if file.startswith(f"{name}/"))


def modules(name: str) -> list[Path]:
    return [
        path for path in (ROOT / name).rglob("*.py") if package_of(path.relative_to(ROOT).as_posix()) == name
    ]


@pytest.fixture(scope="module")
def stages() -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        with dvc_repo.repository() as repo:
            return {stage.addressing: stage for stage in repo.index.stages}


def script(stage: Any) -> str:
    """`stages/train_vae.py` of `python -m workflow train_vae tuned`."""
    return f"stages/{stage.cmd.split()[3]}.py"


@pytest.mark.parametrize("name", ALLOWED_IMPORTS)
def test_packages_import_only_what_is_allowed(name: str) -> None:
    found = modules(name)
    assert found
    for path in found:
        reached = {package_of(file) for file in deps.imports(path, ROOT)}
        assert reached <= ALLOWED_IMPORTS[name] | {name}, path


def test_there_are_no_import_cycles() -> None:
    import networkx as nx

    graph: nx.DiGraph[str] = nx.DiGraph()
    for name in ALLOWED_IMPORTS:
        for path in modules(name):
            file = path.relative_to(ROOT).as_posix()
            graph.add_edges_from((file, other) for other in deps.imports(path, ROOT))
    assert list(nx.simple_cycles(graph)) == []


def test_the_workflow_knows_nothing_of_what_its_stages_compute() -> None:
    for path in (ROOT / "workflow").rglob("*.py"):
        found = re.findall(rf"(?i)\b\w*(?:{EXPERIMENT_WORDS})\w*", path.read_text())
        assert found == [], path


def test_packages_and_files_are_small() -> None:
    for name in ALLOWED_IMPORTS:
        for folder in {path.parent for path in modules(name)}:
            files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
            assert name == "stages" or len(files) <= 9, folder
    for path in [
        path for name in (*ALLOWED_IMPORTS, "tests", "benchmarks") for path in (ROOT / name).rglob("*.py")
    ]:
        assert len(path.read_text().splitlines()) <= 300, path


def test_dvc_yaml_has_the_modules_and_packages_that_scripts_reach() -> None:
    text = (ROOT / "dvc.yaml").read_text()
    assert deps.updated(text, ROOT) == text, "run `make deps`"
    for path in (ROOT / "stages").glob("*.py"):
        reached = deps.closure(path.relative_to(ROOT).as_posix(), ROOT)
        known = OUTPUT_PACKAGES.keys() | OTHER_PACKAGES
        assert deps.packages(reached, ROOT) <= known, "add the packages to workflow/core/packages.py"


def test_every_stage_declares_exactly_the_params_that_its_script_loads(stages: dict[str, Any]) -> None:
    for name, stage in stages.items():
        declared = {param for dep in stage.deps for param in getattr(dep, "params", None) or []}
        member = name.partition("@")[2]
        loaded = {section.format(member) for section in loaded_sections(ROOT / script(stage))}
        if name not in FIRST:
            loaded.add("compute")  # `python -m workflow` reads it for every stage
        assert declared == loaded, name


def test_every_script_in_stages_is_a_stage_and_none_is_long(stages: dict[str, Any]) -> None:
    scripts = {script(stage) for stage in stages.values()}
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "stages").glob("*.py")}
    assert {file for file in files if not file.startswith(("stages/schema", "stages/__init__"))} == scripts
    for path in scripts:
        assert len((ROOT / path).read_text().splitlines()) <= 120, path


def test_init_files_hold_no_code() -> None:
    for path in [path for name in ALLOWED_IMPORTS for path in (ROOT / name).rglob("__init__.py")]:
        if path.parent.name not in ("workflow", "pages"):  # they handle signals, and are no dependency
            assert re.fullmatch(r'"""[^"]*"""\n', path.read_text()), path


def test_imports_inside_functions_count(tmp_path: Path) -> None:
    (tmp_path / "elbo").mkdir()
    (tmp_path / "elbo/deep.py").write_text("")
    (tmp_path / "script.py").write_text("def f():\n    from elbo import deep\n    return deep\n")
    assert deps.imports(tmp_path / "script.py", tmp_path) == {"elbo/deep.py"}


def test_check_finds_all_that_differs_from_dvc_lock(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.path)
    assert (differences(), undeclared_files()) == ([], [])
    module = project.path / "plots/vae.py"
    seen = module.stat()
    module.write_bytes(module.read_bytes().replace(b"ELBO", b"elbo"))
    os.utime(module, ns=(seen.st_atime_ns, seen.st_mtime_ns))  # to DVC it is the file that it knows
    project.edit("lr: 0.0003", "lr: 0.0004")
    (project.path / "elbo/exercises/annuli.py").write_text("# changed\n")
    report = project.path / "reports/vae/tuned/elbo.json"
    report.write_text(report.read_text().replace("-", "+"))
    (project.path / "reports/typed_by_hand.csv").write_text("1,2\n")
    commit(project)
    lines, undeclared = differences(), undeclared_files()
    found = "\n".join(lines)
    assert "train_vae@notebook: param vae.notebook" in found
    assert "render_vae@tuned: plots/vae.py differs from dvc.lock" in found
    assert "sample_annuli: elbo/exercises/annuli.py differs from dvc.lock" in found
    assert "evaluate_elbo@tuned: reports/vae/tuned/elbo.json differs from dvc.lock" in found
    assert undeclared == ["reports/typed_by_hand.csv"]
    assert "tuned: param" not in found
    printed = project.run("python", "-m", "workflow.reproduce.check", status=1)
    assert "dvc.lock is out of date" in printed
    assert "Remove them: rm -r reports/typed_by_hand.csv" in printed
    assert "Traceback" not in printed


def test_the_torch_version_is_the_same_in_all_files() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (pinned,) = (line for line in project["dependencies"] if line.startswith("torch=="))
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    written = {
        f"{name}: {found}"
        for name in listed.splitlines()
        if Path(name).suffix in {".md", ".py", ".sh", ".toml", ".txt", ".yml", ""} and (ROOT / name).is_file()
        for found in re.findall(r"\btorch==\d[\d.]*\d", (ROOT / name).read_text(errors="replace"))
        if found != pinned
    }
    assert not written, f"pyproject.toml has {pinned}"


def test_a_served_model_requires_the_installed_torch_version(monkeypatch: pytest.MonkeyPatch) -> None:
    version = "9.9.9"
    monkeypatch.setattr(export, "installed", lambda _package: version)
    assert f"torch=={version}" in export.requirements()
