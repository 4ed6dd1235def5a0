"""A container that gives the process a user id of its own: no name, no home."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Project, copy_smallest
from tests.support.repository import ROOT

CONTAINER = ("unshare", "--user", "--map-user=12345", "--map-group=12345")
BARE = ("env", "-i", "HOME=/proc", f"PATH={os.environ['PATH']}", "DVC_NO_ANALYTICS=1")


def without_a_name(project: Project, *command: str, status: int = 0) -> str:
    if subprocess.run([*CONTAINER, "true"], capture_output=True).returncode:
        pytest.skip("this kernel gives no user namespaces")
    printed = project.run(*BARE, *CONTAINER, *command, status=status)
    assert "Traceback" not in printed
    return printed


def test_all_works_but_dvc_itself_which_the_doctor_explains(tmp_path: Path) -> None:
    tree = copy_smallest(tmp_path / "project")
    printed = without_a_name(tree, "python", "-m", "workflow.reproduce.repro", "check_params")
    assert "Running stage 'check_params'" in printed
    assert "uid not found" in without_a_name(tree, "dvc", "status", status=255)
    printed = without_a_name(tree, "make", "-o", ".venv/installed", "doctor", status=2)
    assert 'user 12345 has no name here: `make` works, and `dvc` ends in "uid not found"' in printed
    assert "no permission to write in HOME (/proc)" in printed


@pytest.mark.parametrize(("given", "name"), [("USER=me", "me"), ("LOGNAME=me", "me"), ("USER=", "uid-12345")])
def test_make_gives_a_user_a_name_where_it_has_none(tmp_path: Path, given: str, name: str) -> None:
    target = "who:\n\t@python3 -c 'import getpass; print(getpass.getuser())'\n"
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text() + target)
    assert without_a_name(Project(tmp_path), "env", given, "make", "who").splitlines() == [name]
    if given == "USER=":
        here = subprocess.check_output(["id", "-un"], text=True)
        assert Project(tmp_path).run("env", "-u", "USER", "-u", "LOGNAME", "make", "who") == here
