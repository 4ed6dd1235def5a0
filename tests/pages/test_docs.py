"""Every command in README.md and docs/ is run by a test, or listed here with the reason why not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.screenshots import stale
from tests import steps
from tests.conftest import Project
from tests.support.docs import PAGES, commands
from tests.support.repository import ROOT
from tests.support.stores import free_port, run_server

# Commands by their beginning, and the test that takes each from the page by `documented(beginning)`.
OTHER_TESTS = {
    "dvc exp run --queue": "tests/stages/test_sweep.py",
    "dvc queue start": "tests/stages/test_sweep.py",
    "MLFLOW_TRACKING_URI=sqlite:///mlflow.db mlflow models serve": "tests/workflow/tracking/test_models.py",
    "curl": "tests/workflow/tracking/test_models.py",
    "mlflow server": "tests/workflow/tracking/test_team_server.py",
}
STEPS = ("make test", "make quick", "make verify", "make torture")  # of `.ci/run` or `make nightly`
INSTALLS = "needs the package index; the first step of .ci/run installs by the same lines of the Makefile"
NOT_RUN = {
    "git clone ADDRESS elbo && cd elbo": "the tests run in a copy; `git clone ADDRESS copy` is run",
    ". .venv/bin/activate": "the tests have the packages of their own environment",
    "python3 -m venv .venv && . .venv/bin/activate": INSTALLS,
    "pip install -c constraints.txt -e '.[test]'": INSTALLS,
    "pip install -c constraints.txt -e '.[server]'": INSTALLS,
    "pytest": "runs this test; `make test` is this command",
    "make audit": "two whole reproductions; test_audit.py and a step of `make nightly` run its module",
    "MNIST_MIRROR=/data/mnist make repro": "needs MNIST; tests/sources/test_download.py uses mirrors",
    "sudo -u postgres createuser $USER": "needs root; test_team_server.py makes its own cluster",
    "sudo -u postgres createdb -O $USER -E UTF8 -T template0 mlflow": "needs root, as above",
    "export MLFLOW_TRACKING_URI=http://NAME:5000": "changes the shell only; test_team_server.py sets it",
}
# pages whose commands another test runs in their order, from the page
WHOLE = {"docs/your-own-project.md": "tests/test_other_project.py", "docs/extend.md": "tests/test_extend.py"}
# what the small project, without a network, has instead
REPLACED = {"10000": "200", "ADDRESS": "."}


def remaining() -> list[str]:
    """The commands that `test_the_commands_of_the_pages_run` runs, each once."""
    listed = {*STEPS, *NOT_RUN}
    others = [page for page in PAGES if page not in [ROOT / name for name in WHOLE]]
    found = dict.fromkeys(line for page in others for line in commands(page))
    return [line for line in found if not line.startswith(tuple(OTHER_TESTS)) and line not in listed]


def test_the_lists_of_commands_agree_with_the_pages_and_the_tests() -> None:
    written = {line for page in PAGES for line in commands(page)}
    assert len(remaining()) > 10
    for command in (*NOT_RUN, *STEPS):
        assert command in written, f"no page has `{command}`"
    for start, file in OTHER_TESTS.items():
        assert any(line.startswith(start) for line in written), start
        assert f'documented("{start}")' in (ROOT / file).read_text(), file
    run_by_steps = " ".join(step.command for step in steps.all_steps(mnist=True))
    for command in STEPS:
        assert command.replace("make ", "make -s ") in run_by_steps


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_links_files_and_make_targets_of_a_page_exist(page: Path) -> None:
    text = page.read_text()
    links = [*re.findall(r"\]\(([^)]+)\)", text), *re.findall(r'<img src="([^"]+)"', text)]
    for path, _, part in (link.partition("#") for link in links if not link.startswith("http")):
        target = page.parent / path if path else page
        assert target.exists(), path
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.M) if part else []
        assert not part or part in {
            re.sub(r"[^\w -]", "", line).lower().replace(" ", "-") for line in headings
        }
    makefile = (ROOT / "Makefile").read_text()
    for name in set(re.findall(r"(?:^|`)make ([a-z][\w-]*)", text, re.M)):
        assert re.search(rf"^{name}:", makefile, re.M), f"make {name}"


def test_the_python_example_runs(reproduced: Project) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/serve.md").read_text(), re.S)
    check = "\nassert q.mean.shape == (5, 2) and x.shape == (16, 784)\n"
    reproduced.run("python", "-c", code + check)


@pytest.mark.slow
def test_the_commands_of_the_pages_run(project: Project, tmp_path: Path) -> None:
    replaced = REPLACED | {"/srv/dvc": f"{tmp_path}/remote", " copy": f" {tmp_path}/copy"}
    for command in remaining():
        for written, used in replaced.items():
            command = command.replace(written, used)
        # the packages are installed
        command = re.sub(r"\bmake ", "make -s -o .venv/installed -o .venv/installed-test ", command)
        if command.endswith(" ui"):
            port = free_port()
            with run_server(["sh", "-c", f"exec {command} PORT={port}"], port, project.path):
                continue
        project.run("sh", "-c", command)
    assert list((tmp_path / "copy/models").rglob("*.safetensors"))  # of the clone, by `dvc pull`
    assert list((tmp_path / "remote").rglob("*"))


def test_the_screenshots_show_the_committed_results() -> None:
    changed = stale(ROOT)
    assert not changed, f"run `python -m docs.screenshots`: the numbers of {', '.join(changed)} have changed"
