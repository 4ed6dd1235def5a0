"""Without git, or with one that refuses: what is wrong is said with the commands that mend it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline import git_checks
from tests.conftest import Project

CONFIG = "[user]\n  useConfigOnly = true\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which git knows neither a repository nor the user."""
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


def said() -> list[str]:
    return [f"{finding.what}: {finding.remedy}" for finding in git_checks.git()]


def commands(text: str) -> list[str]:
    return [command.replace("'…'", "x") for command in re.findall(r"`(.*?)`", text)]


def test_the_commands_of_each_finding_mend_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "dvc.yaml").write_text("stages: {}\n")
    (no_repository,) = said()
    assert f"{here} is no git repository, as a downloaded zip is none, and DVC needs one" in no_repository
    subprocess.run(["git", "init", "-q", here.parent], check=True)
    others, nobody = said()
    assert f"lies in the git repository {here.parent}, which does not have its files" in others
    assert "git does not know who you are" in nobody
    for command in commands(nobody) + commands(others):
        subprocess.run(command, shell=True, check=True, capture_output=True)
    assert said() == []
    (here / ".git/config").write_text("[core\n")
    assert "cannot read this repository" in said()[0]
    (here / ".git/config").unlink()
    monkeypatch.setenv("PATH", "/nowhere")
    (no_program,) = said()
    assert "git is not installed: the pipeline runs" in no_program


def test_a_project_that_is_part_of_a_larger_repository_is_all_right(here: Path) -> None:
    (here / "dvc.yaml").write_text("stages: {}\n")
    (here.parent.parent / "config").write_text("[user]\n  name = x\n  email = x\n")
    subprocess.run("git init -q .. && git add dvc.yaml && git commit -qm x", shell=True, check=True)
    assert said() == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give a folder away")
def test_a_clone_that_belongs_to_another_user_is_explained(tree: Project, tmp_path: Path) -> None:
    for path in (tree.path, *tree.path.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    home = str(tmp_path)  # git and libgit2 read its .gitconfig
    printed = tree.run("python", "-m", "stages.track", status=1, HOME=home)
    assert "not owned by current user\n  `make doctor` says what to do." in printed
    assert "Traceback" not in printed
    printed = tree.run("python", "-m", "pipeline.doctor", status=1, HOME=home)
    assert f"git refuses {tree.path}: it belongs to user 12345, and you are 0" in printed
    (command,) = commands(printed.partition("git refuses")[2].partition("; or clone")[0])[1:]
    tree.run("sh", "-c", command, HOME=home)
    assert "MLflow: " in tree.run("python", "-m", "stages.track", HOME=home)
    assert "git refuses" not in tree.run("python", "-m", "pipeline.doctor", status=1, HOME=home)


def test_from_a_downloaded_zip_the_first_command_says_what_to_do_and_that_is_all_it_takes(
    tree: Project,
) -> None:
    shutil.rmtree(tree.path / ".git")
    printed = tree.run("python", "-m", "pipeline.doctor", "--first", status=1)
    assert "error: " in printed
    assert "is no git repository" in printed
    for command in ("stages.track", "pipeline.stale"):
        printed = tree.run("python", "-m", command, status=1)
        assert "make doctor" in printed
        assert "Traceback" not in printed
    printed = tree.run("python", "-m", "pipeline.doctor", status=1)
    _, without_git = commands(printed.partition("is no git repository")[2])[:2]
    tree.run("sh", "-c", without_git)
    assert tree.repro("sample_annuli") == ["check_params", "record_packages", "sample_annuli"]
    tree.run("python", "-m", "pipeline.doctor", "--first")
