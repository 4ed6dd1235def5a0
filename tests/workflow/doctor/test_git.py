"""Without git, or if git refuses: the fault is reported with the commands that repair it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Project
from workflow.doctor import git

CONFIG = "[user]\n  useConfigOnly = true\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where git knows neither a repository nor the user."""
    config = tmp_path / "config"
    config.write_text(CONFIG)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("NAME", "EMAIL"):
        monkeypatch.delenv(f"GIT_COMMITTER_{name}", raising=False)
    folder = tmp_path / "outer" / "project"
    folder.mkdir(parents=True)
    (folder / ".dvc").mkdir()
    monkeypatch.chdir(folder)
    return folder


def findings() -> list[str]:
    return [str(finding) for finding in git.git()]


def commands(text: str) -> list[str]:
    return [command.replace("'…'", "x") for command in re.findall(r"`(.*?)`", text)]


def test_the_commands_of_each_finding_repair_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "dvc.yaml").write_text("stages: {}\n")
    (no_repository,) = findings()
    assert f"{here} is no git repository (a downloaded zip is none), and DVC needs one" in no_repository
    subprocess.run(["git", "init", "-q", here.parent], check=True)
    outer, no_user = findings()
    assert f"lies in the git repository {here.parent}, which does not have its files" in outer
    assert "git does not know who you are" in no_user
    for command in commands(no_user) + commands(outer):
        subprocess.run(command, shell=True, check=True, capture_output=True)
    assert findings() == []
    (here / ".git/config").write_text("[core\n")
    assert "cannot read this repository" in findings()[0]
    (here / ".git/config").unlink()
    monkeypatch.setenv("PATH", "/nowhere")
    (no_program,) = findings()
    assert "git is not installed: the pipeline runs" in no_program


def test_a_project_inside_a_larger_repository_has_no_findings(here: Path) -> None:
    (here / "dvc.yaml").write_text("stages: {}\n")
    (here.parent.parent / "config").write_text("[user]\n  name = x\n  email = x\n")
    subprocess.run("git init -q .. && git add dvc.yaml && git commit -qm x", shell=True, check=True)
    assert findings() == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give a folder away")
def test_a_clone_that_belongs_to_another_user_is_explained(tree: Project, tmp_path: Path) -> None:
    for path in (tree.path, *tree.path.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    home = str(tmp_path)  # git and libgit2 read its .gitconfig
    printed = tree.run("python", "-m", "workflow.tracking", status=1, HOME=home)
    assert "not owned by current user\n  `make doctor` says what to do." in printed
    assert "Traceback" not in printed
    printed = tree.run("python", "-m", "workflow.doctor", status=1, HOME=home)
    assert f"git refuses {tree.path}: it belongs to user 12345, and you are 0" in printed
    (command,) = commands(printed.partition("git refuses")[2].partition("; or clone")[0])[1:]
    tree.run("sh", "-c", command, HOME=home)
    assert "MLflow: " in tree.run("python", "-m", "workflow.tracking", HOME=home)
    assert "git refuses" not in tree.run("python", "-m", "workflow.doctor", status=1, HOME=home)


def test_a_downloaded_zip_works_after_the_commands_of_the_first_error(
    tree: Project,
) -> None:
    shutil.rmtree(tree.path / ".git")
    printed = tree.run("python", "-m", "workflow.doctor", "--first", status=1)
    assert "error: " in printed
    assert "is no git repository" in printed
    for command in ("workflow.tracking", "workflow.reproduce.check"):
        printed = tree.run("python", "-m", command, status=1)
        assert "make doctor" in printed
        assert "Traceback" not in printed
    printed = tree.run("python", "-m", "workflow.doctor", status=1)
    _, without_git = commands(printed.partition("is no git repository")[2])[:2]
    tree.run("sh", "-c", without_git)
    assert tree.repro("sample_annuli") == ["check_params", "record_packages", "sample_annuli"]
    tree.run("python", "-m", "workflow.doctor", "--first")
