"""Files that a merge left in conflict, and files that DVC's copies of the project lack."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.conftest import Project, commit, copy_working_tree
from workflow.core.errors import UserError
from workflow.runs.worktree import require_copyable

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
        "pages.compare", "workflow check_params",
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
    assert "conflict" not in project.run("python", "-m", "workflow.reproduce.check", status=1)


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
    "code", ["import elbo.new.thing", "from elbo import new", "open('elbo/new/table.json')"]
)
def test_a_copy_of_the_project_names_the_files_that_git_does_not_track(tmp_path: Path, code: str) -> None:
    project, copy = copy_working_tree(tmp_path / "project"), tmp_path / "copy"
    commit(project)
    use_new_files(project, code)
    project.run("git", "commit", "-qam", "uses new files")
    project.run("git", "clone", "-q", ".", str(copy))
    command = ("python", "-m", "workflow", "check_params")
    project.run(*command)
    printed = Project(copy).run(*command, status=1, DVC_ROOT=str(project.path))  # as DVC does
    assert printed.startswith("error: ")
    assert printed.endswith(MESSAGE)


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
