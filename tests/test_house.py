"""The house and its rules: what may import what, and whether dvc.yaml declares what stages read."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo

from pipeline.guard import FIRST
from pipeline.packages import MATTER, NO_MATTER
from pipeline.stale import look
from stages import models
from tests.closure import EXEMPT, ROOMS, ROOT, closure, imports, loaded_sections, packages
from tests.conftest import Project, commit

ARROWS = {"stages": {"elbo", "plots", "pipeline"}, "elbo": set(), "plots": set(), "pipeline": set()}
NOT_STAGES = {
    "schema.py",
    "check.py",
    "compare.py",
    "summary.py",
    "track.py",
    "registry.py",
    "models.py",
    "__init__.py",
}


@pytest.fixture(scope="module")
def stages() -> dict[str, Any]:
    with Repo(str(ROOT)) as repo:
        return {stage.addressing: stage for stage in repo.index.stages}


def script(stage: Any) -> str:
    """`stages/train_vae.py` of `python -m stages.train_vae tuned`."""
    return stage.cmd.split()[2].replace(".", "/") + ".py"


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_each_other_along_the_arrows_only(room: str) -> None:
    for path in (ROOT / room).glob("*.py"):
        reached = {name.split("/")[0] for name in imports(path)}
        assert reached <= ARROWS[room] | {room}, path


def test_every_stage_declares_just_the_modules_that_its_script_reaches(
    stages: dict[str, Any],
) -> None:
    for name, stage in stages.items():
        declared = {str(dep.def_path) for dep in stage.deps if str(dep.def_path).endswith(".py")}
        exempt = EXEMPT - {"pipeline/packages.py"} if name == "record_packages" else EXEMPT
        reached = closure(script(stage), exempt=exempt)
        if name == "check_params":  # the schema cannot change an output, but it decides whether there is one
            reached.add("stages/schema.py")
        lines = "\n".join(f"      - {file}" for file in sorted(reached))
        assert declared == reached, f"deps of {name} in dvc.yaml should have these modules:\n{lines}"


def test_every_stage_declares_just_the_packages_that_can_change_what_it_writes(
    stages: dict[str, Any],
) -> None:
    for name, stage in stages.items():
        if name == "record_packages":
            continue
        declared = {str(dep.def_path) for dep in stage.deps if str(dep.def_path).startswith("data/packages/")}
        imported = packages(closure(script(stage)))
        assert imported <= MATTER.keys() | NO_MATTER, "say in pipeline/packages.py whether these matter"
        assert declared == {f"data/packages/{package}.json" for package in imported & MATTER.keys()}, name


def test_every_stage_declares_just_the_params_that_its_script_loads(stages: dict[str, Any]) -> None:
    for name, stage in stages.items():
        declared = {param for dep in stage.deps for param in getattr(dep, "params", None) or []}
        member = name.partition("@")[2]
        loaded = {section.format(member) for section in loaded_sections(ROOT / script(stage))}
        if name not in FIRST:
            loaded.add("compute")  # stages/__init__.py reads it, for all of them
        assert declared == loaded, name


def test_every_script_in_stages_is_a_stage_and_none_is_long(stages: dict[str, Any]) -> None:
    scripts = {script(stage) for stage in stages.values()}
    files = {path for path in (ROOT / "stages").glob("*.py") if path.name not in NOT_STAGES}
    assert {path.relative_to(ROOT).as_posix() for path in files} == scripts
    for path in files:
        assert len(path.read_text().splitlines()) <= 110, path
    for room in (*ROOMS, "tests", "benchmarks"):
        for path in (ROOT / room).glob("*.py"):
            assert len(path.read_text().splitlines()) <= 320, path


def test_packages_hold_no_code_that_deps_would_have_to_name() -> None:
    for room in ROOMS:
        if room == "stages":
            continue  # its code is declared: the closure has it
        text = (ROOT / room / "__init__.py").read_text()
        if room == "pipeline":
            # it takes signals, and nothing else
            assert imports(ROOT / room / "__init__.py") == {"pipeline/console.py"}
            assert (
                len(
                    [line for line in text.partition("import sys")[2].splitlines() if line.startswith("    ")]
                )
                == 2
            )
        else:
            (only,) = ast.parse(text).body
            assert isinstance(only, ast.Expr)


def test_exempt_modules_exist() -> None:
    assert all((ROOT / name).is_file() for name in EXEMPT)


def test_imports_inside_functions_count(tmp_path: Path) -> None:
    (tmp_path / "elbo").mkdir()
    (tmp_path / "elbo/deep.py").write_text("")
    (tmp_path / "script.py").write_text("def f():\n    from elbo import deep\n    return deep\n")
    assert imports(tmp_path / "script.py", tmp_path) == {"elbo/deep.py"}


def test_the_check_finds_each_way_in_which_what_is_committed_can_be_stale(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.path)
    assert look() == ([], [])
    project.edit("lr: 0.0003", "lr: 0.0004")
    (project.path / "elbo/annuli.py").write_text("# changed\n")
    report = project.path / "reports/vae/tuned/elbo.json"
    report.write_text(report.read_text().replace("-", "+"))
    (project.path / "reports/typed_by_hand.csv").write_text("1,2\n")
    commit(project)
    lines, left = look()
    found = "\n".join(lines)
    assert "train_vae@notebook: param vae.notebook" in found
    assert "sample_annuli: elbo/annuli.py differs from dvc.lock" in found
    assert "evaluate_elbo@tuned: reports/vae/tuned/elbo.json differs from dvc.lock" in found
    assert left == ["reports/typed_by_hand.csv"]
    assert "tuned: param" not in found
    printed = project.run("python", "-m", "pipeline.stale", status=1)
    assert "dvc.lock is out of date" in printed
    assert "Remove them: rm -r reports/typed_by_hand.csv" in printed
    assert "Traceback" not in printed


def test_torch_has_one_version_wherever_it_is_written() -> None:
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


def test_a_served_model_asks_for_the_torch_that_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    version = "9.9.9"
    monkeypatch.setattr(models, "installed", lambda _package: version)
    assert f"torch=={version}" in models.requirements()
