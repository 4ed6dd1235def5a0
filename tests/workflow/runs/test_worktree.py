"""Files that a merge left in conflict, and files that DVC's copies of the project lack."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.conftest import Project, commit, copy_smallest, copy_working_tree
from workflow.core.errors import UserError
from workflow.runs.worktree import (
    conflicted_files,
    explain,
    lacks,
    require_copyable,
    untracked_inputs,
)  # fmt: skip

CONFLICTED = {
    "params.yaml": r"threads: \d",
    "dvc.yaml": "finds all that is wrong in",
    "dvc.lock": "stages:",
    "reports/vae/tuned/elbo.json": "mnist",
}


def test_every_program_names_the_files_of_a_merge_conflict(tmp_path: Path) -> None:
    project = copy_working_tree(tmp_path / "project")
    commit(project)
    for branch in ("other", "main"):
        project.run("git", "switch", "-q", *(["-c", branch] if branch == "other" else [branch]))
        for file, words in CONFLICTED.items():
            project.edit(words, f"threads: {branch}", file=file)
        commit(project)
    project.run("git", "merge", "-q", "other", status=1)
    for program in (
        "workflow.reproduce.check", "workflow.reproduce.deps", "workflow.doctor --first", "pages.summary",
        "workflow check_params",
    ):  # fmt: skip
        printed = project.run("python", "-m", *program.split(), status=1)
        assert printed == (
            "error: merge conflict in dvc.lock, dvc.yaml, params.yaml and 1 more\n  `git checkout --ours "
            "dvc.lock dvc.yaml params.yaml reports` (or --theirs, or edit it), then `dvc repro`\n"
        )
    assert f"to do: {printed.splitlines()[1].strip()}" in project.run(
        "python", "-m", "workflow.doctor", status=1
    )
    project.run("sh", "-c", re.findall("`(.*?)`", printed)[0])
    assert (project.path / "params.yaml").read_text().count("threads: main") == 1
    check = ("python", "-m", "workflow.reproduce.check")
    assert "conflict" not in project.run(*check, status=1)
    project.run("git", "checkout", "-q", "HEAD^", ".")
    project.edit(r"\Z", "x: [\n", file="params.yaml")
    assert project.run(*check, status=1).startswith("error: DVC cannot read this project: unable to read")
    project.edit(r"\Z", "<<<<<<< HEAD\n", file=".dvc/config")
    assert project.run(*check, status=1).startswith("error: merge conflict in .dvc/config\n")


@pytest.mark.parametrize(
    ("file", "line", "conflict"),
    [
        ("reports/a.csv", "<<<<<<< a,1,2", False),  # a class
        ("data/a.csv", "<<<<<<< HEAD", False),  # a user's own text
        ("reports/a.csv", ">>>>>>> 0123abc (one, two)", True),
        (".dvc/config", "<<<<<<< HEAD", True),
    ],
)
def test_text_that_looks_like_a_conflict_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, line: str, conflict: bool
) -> None:
    path = tmp_path / file
    path.parent.mkdir()
    path.write_text(f"class,x,y\n{line}\n")
    monkeypatch.chdir(tmp_path)
    Project(tmp_path).run("sh", "-c", "git init -q && git add .")
    assert conflicted_files() == [file] * conflict


NEW = ("elbo/new/__init__.py", "elbo/new/thing.py", "elbo/new/table.json")
MESSAGE = """
  git does not track elbo/new/__init__.py, elbo/new/table.json, elbo/new/thing.py, and DVC's queued and \
temporary experiments run without: `git add elbo/new/__init__.py elbo/new/table.json elbo/new/thing.py`
"""


def use_new_files(project: Project, code: str) -> None:
    (project.path / "elbo/new").mkdir()
    for file in NEW:
        (project.path / file).touch()
    project.edit(r"\Z", f"{code}\n", file="stages/check_params.py")


@pytest.mark.parametrize(
    ("error", "files"),
    [
        (ImportError("No module named 'elbo.new'"), NEW),
        (ImportError("cannot import name 'new' from 'elbo' (unknown location)"), NEW),
        (ImportError("No module named 'elbo.namespace'"), ["elbo/namespace/one.py"]),
        (FileNotFoundError("No such file or directory: 'elbo/new/table.json'"), NEW),
        (UserError("no stage thing: python -m workflow STAGE"), ["stages/thing.py"]),
        (UserError("training diverged; lower thing.lr"), []),
        (ImportError("cannot import name 'thing' from 'elbo.bounds' (bounds.py)"), []),
    ],
)
def test_an_error_in_a_copy_is_explained_by_the_files_that_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, files: Sequence[str]
) -> None:
    for file in (*NEW, "elbo/namespace/one.py", "stages/thing.py", "training.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    Project(tmp_path).run("git", "init", "-q")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    expected = f"{error}\n  {lacks(*sorted(files))}" if files else "None"
    assert str(explain(error)) == expected


def test_files_beside_any_code_of_the_pipeline_are_missing_in_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = copy_smallest(tmp_path / "project")
    commit(project)
    new = ["elbo/new/thing.py", "pages/templates/new.j2", "workflow/tracking/new.py"]
    for file in (*new, "docs/new.py"):
        (project.path / file).parent.mkdir(exist_ok=True)
        (project.path / file).touch()
    monkeypatch.chdir(project.path)
    assert untracked_inputs() == new


@pytest.mark.slow
def test_the_remedy_of_an_experiment_without_a_module_lets_it_run(tree: Project) -> None:
    use_new_files(tree, "from elbo.new import thing")
    printed = tree.run("dvc", "exp", "run", "--temp", "check_params", status=255)
    assert "Traceback" not in printed
    assert MESSAGE in printed
    tree.run("sh", "-c", re.findall("`(git add .*?)`", printed)[0])
    tree.run("dvc", "exp", "run", "--temp", "check_params")


@pytest.mark.parametrize(
    ("name", "fault"), [("My%20Project", True), ("a?b", True), ("ü", True), ("a b;c", False)]
)
def test_a_sweep_is_refused_where_dvc_cannot_copy_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, fault: bool
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    with pytest.raises(UserError, match="experiments in") if fault else nullcontext():
        require_copyable()
