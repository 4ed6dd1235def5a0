"""The page on starting another project from this one: its files and commands make a project that runs."""

from __future__ import annotations

import itertools
import re
import shlex
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.conftest import Project, copy_working_tree
from tests.support.docs import commands, written_files
from tests.support.processes import kill_process_tree, start_process, wait_for_checkpoint
from tests.support.repository import ROOT
from tests.support.stores import all_runs, journals_uploaded, store_uri, wait_for

PAGE = ROOT / "docs/your-own-project.md"


@pytest.fixture
def line(tmp_path: Path) -> Project:
    """The project of the page, before its last block of commands."""
    clone = tmp_path / "clone"
    clone.mkdir()
    copy_working_tree(clone)
    before = list(itertools.takewhile(lambda command: "reproduce.deps" not in command, commands(PAGE)))
    assert before[0] == "CLONE=/path/to/your/clone"
    Project(tmp_path).run("sh", "-ec", "\n".join([f"CLONE={clone}", *before[1:]]))
    project = Project(tmp_path / "line")
    for name, content in written_files(PAGE).items():
        (project.path / name).write_text(content)
    project.run("git", "config", "user.email", "tests@example.org")
    project.run("git", "config", "user.name", "Tests")
    return project


@pytest.mark.slow
def test_the_page_builds_another_project_and_its_commands_run(line: Project) -> None:
    deps, repro, *rest = commands(PAGE)[-8:]
    line.run("sh", "-c", deps)
    assert "- stages/train_line.py\n" in (line.path / "dvc.yaml").read_text()
    line.edit("epochs: 400", "epochs: 0")
    assert "line.a.epochs: 0 is too small; write 1 or more" in line.run(
        "python", "-m", "workflow.doctor", "--first", status=1
    )
    line.edit("epochs: 0", "epochs: 400")
    process = start_process(line, *shlex.split(repro))
    wait_for_checkpoint(line)
    kill_process_tree(process)
    assert "train_line@a: continues after epoch" in line.run("sh", "-c", repro)
    assert "up to date" in line.run("sh", "-c", repro)
    wait_for(lambda: journals_uploaded(line))
    printed = {command: line.run("sh", "-c", command) for command in rest}
    assert "verify: passed" in printed["python -m workflow.reproduce.verify"]
    ((_, run),) = all_runs(store_uri(line))
    assert run.info.status == "FINISHED"
    assert run.data.metrics["metrics/slope"] == 2.0
    history = MlflowClient(store_uri(line)).get_metric_history(run.info.run_id, "by_epoch/error")
    assert len(history) == 400
    line.edit(r"(?s)(  a: .*)", r"\1  b: {slope: 3.0, epochs: 2, lr: 0.1}\n")
    assert line.repro() == ["train_line@b"]


def test_the_page_names_ten_files_that_exist() -> None:
    table = PAGE.read_text().partition("## Ten files to know")[2].partition("\n## ")[0]
    names = re.findall(r"^\| `([\w./]+)` \|", table, re.M)
    assert len(names) == 10
    assert all((ROOT / name).is_file() for name in names)
