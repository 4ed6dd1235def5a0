"""A clone by git's `core.autocrlf=true`, the default on Windows, has the bytes that were committed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Project, commit, copy_working_tree
from workflow.doctor import git

WINDOWS = "[core]\n  autocrlf = true\n  eol = crlf\n[user]\n  name = x\n  email = x\n"
ONE_STAGE = "stages:\n  only:\n    cmd: cp params.yaml made\n    params: [compute]\n    outs: [made]\n"


@pytest.fixture
def clone(tmp_path: Path) -> Project:
    """A clone of the working tree by a git with the settings of Windows."""
    project = copy_working_tree(tmp_path / "project")
    commit(project)
    (tmp_path / ".gitconfig").write_text(WINDOWS)
    project.run("git", "clone", "-q", ".", str(tmp_path / "clone"), HOME=str(tmp_path))
    return Project(tmp_path / "clone")


def test_a_clone_has_the_bytes_of_head_and_dvc_sees_no_change(clone: Project, tmp_path: Path) -> None:
    original, home = Project(tmp_path / "project"), str(tmp_path)
    names = clone.run("git", "ls-files").splitlines()
    assert {"Makefile", ".ci/run", ".dvc/config", "data/.gitignore", "reports/README.md"} < {*names}
    for name in names:
        assert (clone.path / name).read_bytes() == (original.path / name).read_bytes(), name
    assert clone.run("git", "status", "--porcelain", HOME=home) == ""
    check = ("sh", "-c", "python -m workflow.reproduce.check || true")
    assert clone.run(*check, HOME=home) == original.run(*check)


def test_an_experiment_in_a_copy_commits_no_other_line_ends(clone: Project, tmp_path: Path) -> None:
    """It is checked out by libgit2, which reads .gitattributes after the files that come before it."""
    (clone.path / "dvc.yaml").write_text(ONE_STAGE)
    (clone.path / "dvc.lock").unlink()
    clone.run("git", "commit", "-qam", "one stage", HOME=str(tmp_path))
    clone.run("dvc", "exp", "run", "--temp", "-n", "copy", HOME=str(tmp_path))
    (ref,) = clone.run("git", "for-each-ref", "--format=%(refname)", "refs/exps/*/*/copy").split()
    changed = clone.run("git", "diff", "--name-only", "HEAD", ref)
    assert changed.split() == [".gitignore", "dvc.lock"]


def test_the_doctor_gives_a_clone_from_before_its_line_ends_back(
    clone: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: (clone.path / name).read_bytes() for name in ("Makefile", ".ci/run", "data/search.csv")}
    for name, content in before.items():
        (clone.path / name).write_bytes(content.replace(b"\n", b"\r\n"))
    monkeypatch.chdir(clone.path)
    (found,) = git.line_ends()
    assert found.repaired
    assert found.fault == "CRLF at the ends of lines, where git and dvc.lock have LF: .ci/run and 1 more"
    after = {name: (clone.path / name).read_bytes() for name in before}
    assert after.pop("data/search.csv") == before.pop("data/search.csv").replace(b"\n", b"\r\n")  # as it is
    assert after == before
    assert (clone.path / ".ci/run").stat().st_mode & 0o100
    assert not [*git.line_ends()]
