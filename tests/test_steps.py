"""`.ci/run`, `make nightly` and the GitHub workflows run the steps of one list."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests import steps
from tests.conftest import Project, commit, init_git
from tests.steps import CHANGE, NIGHTLY, Step
from tests.support.repository import ROOT

WORKFLOWS = ROOT / ".github/workflows"


def commands(workflow: Path) -> Iterator[str]:
    """The commands of a workflow, and the workflows that it calls with their tier."""
    for job in YAML(typ="safe").load(workflow)["jobs"].values():
        if "uses" in job:
            yield f"{job['uses']} {job['with']['tier']}"
        for step in job.get("steps", []):
            if "run" in step:
                yield step["run"].strip()


def test_workflows_run_the_list_of_steps_and_no_other_checks() -> None:
    assert {path.name for path in WORKFLOWS.iterdir()} == {"ci.yml", "nightly.yml", "checks.yml"}
    assert list(commands(WORKFLOWS / "ci.yml")) == [f"./.github/workflows/checks.yml {CHANGE}"]
    assert list(commands(WORKFLOWS / "nightly.yml")) == [f"./.github/workflows/checks.yml {NIGHTLY}"]
    lines = list(commands(WORKFLOWS / "checks.yml"))
    assert ".ci/run ${{ inputs.tier }}" in lines
    assert not [line for line in lines if "make" in line or "pytest" in line or "dvc" in line]
    script = (ROOT / ".ci/run").read_text()
    assert 'exec python3 -m tests.steps "${1:-change}"' in script
    assert not [line for line in script.splitlines() if line.startswith(("make", "pytest", "dvc"))]


@pytest.mark.parametrize("mnist", [True, False])
def test_nightly_includes_all_steps_of_a_change_and_all_other_tests(mnist: bool) -> None:
    listed = steps.all_steps(mnist)
    names = [step.name for step in listed]
    assert len(set(names)) == len(names)
    alone = [step.name for step in listed if NIGHTLY not in step.tiers]
    assert alone == ["test-ci"]  # nightly runs its two halves as separate steps
    assert {"test", "slow"} <= {step.name for step in listed if NIGHTLY in step.tiers}
    makefile = (ROOT / "Makefile").read_text()
    for marks in ("", " -m slow", " -m 'ci or not (slow or processors)'"):
        assert f"\tpytest{marks}\n" in makefile
    for step in listed:  # each make target must exist
        for word in ("lint", "check", "test-ci", "test", "quick", "verify", "slow", "processors", "torture"):
            assert f"make -s {word}" not in step.command or f"\n{word}:" in makefile


def test_every_ci_test_is_also_marked_slow() -> None:
    """Otherwise `make test` would run it, and nightly would not run it by `make slow`."""
    marked = [
        after
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for after in re.findall(r"((?:^@.*\n)*^@pytest\.mark\.ci\n(?:^@.*\n)*)", path.read_text(), re.M)
    ]
    assert marked
    assert all("@pytest.mark.slow\n" in marks for marks in marked)


@pytest.fixture
def small_list(tmp_path: Path) -> Project:
    """A project with a list of four steps; the second fails until the file `there` exists."""
    project = Project(tmp_path / "project")
    (project.path / "tests").mkdir(parents=True)
    (project.path / "tests/steps.py").write_text((ROOT / "tests/steps.py").read_text())
    (project.path / "tests/__init__.py").touch()
    (project.path / ".gitignore").write_text("/.nightly/\n__pycache__/\n/ran\n/there\n")
    (project.path / "run_steps.py").write_text(
        "import sys\nfrom tests import steps\n"
        "steps.all_steps = lambda mnist: [\n"
        "    steps.Step('first', 'echo first >> ran'),\n"
        "    steps.Step('second', 'echo second >> ran; echo $REQUIRE_TOOLS; ls there'),\n"
        "    steps.Step('third', 'echo third >> ran', ('nightly',)),\n"
        "    steps.Step('fourth', 'true', ('nightly',), ('no-such-tool', 'apt-get install it')),\n"
        "]\nsteps.main()\n"
    )
    init_git(project.path)
    commit(project)
    return project


def ran(project: Project) -> list[str]:
    """The steps that ran since the last call."""
    path = project.path / "ran"
    names = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return names


def test_nightly_runs_all_steps_and_does_not_repeat_passed_ones(small_list: Project) -> None:
    printed = small_list.run("python", "run_steps.py", "nightly", status=1)
    assert ran(small_list) == ["first", "second", "third"]
    summary = printed[printed.index("first   ") :].splitlines()
    assert [line.split(" s  ")[-1] for line in summary[:4]] == [
        "passed", "failed, exit code 2", "passed", "not run: no-such-tool is missing (apt-get install it)",
    ]  # fmt: skip
    assert "see .nightly/second.log; by itself: echo second" in printed
    assert "1\nls: " in (small_list.path / ".nightly/second.log").read_text()  # REQUIRE_TOOLS
    assert "nightly: 2 failed, 0 not run, of 4 steps" in summary[-1]
    (small_list.path / "there").touch()  # git ignores it, so the state is the same
    assert "passed before" in small_list.run("python", "run_steps.py", "nightly", status=1)
    assert ran(small_list) == ["second"]
    (small_list.path / "new.txt").write_text("not committed")
    small_list.run("python", "run_steps.py", "nightly", status=1)
    assert ran(small_list) == ["first", "second", "third"]
    assert small_list.run("git", "status", "--porcelain").split() == ["??", "new.txt"]
    (small_list.path / ".nightly/passed.json").write_text('{"state"')  # as if killed while writing
    small_list.run("python", "run_steps.py", "nightly", status=1)
    assert ran(small_list) == ["first", "second", "third"]


def test_a_change_stops_at_the_first_failure_and_nightly_reuses_its_passes(small_list: Project) -> None:
    printed = small_list.run("python", "run_steps.py", "change", status=1)
    assert "change: 1 failed, 0 not run, of 2 steps" in printed
    (small_list.path / "there").touch()
    ran(small_list)
    assert "change: all 2 steps passed" in small_list.run("python", "run_steps.py", "change")
    assert ran(small_list) == ["first", "second"]
    small_list.run("python", "run_steps.py", "nightly", status=1)
    assert ran(small_list) == ["third"]
    assert "usage: " in small_list.run("python", "run_steps.py", "weekly", status=1)


def test_a_step_that_changes_the_tree_is_not_recorded(
    small_list: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(small_list.path)
    Path(".nightly").mkdir()
    assert steps.run_step(Step("writes", "date > dvc.lock"), force=False).result == "passed"
    assert steps.passed_steps(steps.tree_state()) == {}
