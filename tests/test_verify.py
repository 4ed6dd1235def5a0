"""`make verify` by its command: on a pipeline of one stage, and on the real one with small settings."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipeline.comparison import IDENTITY
from pipeline.numbers import columns
from pipeline.params import read
from pipeline.tolerances import load, rule_for
from pipeline.verify import environment
from tests.closure import ROOT
from tests.conftest import Project, commit

SMALL_ELBO = "reports/vae/notebook/elbo.json"

MINI = """stages:
  train:
    cmd: python train.py
    deps: [train.py]
    outs:
      - models/tuned
      - reports/report.html
    metrics:
      - reports/vae/tuned/elbo.json:
          cache: false
"""
TRAIN = """import json, os, pathlib
for name in ("models", "reports/vae/tuned"):
    pathlib.Path(name).mkdir(parents=True, exist_ok=True)
pathlib.Path("models/tuned").write_text(os.environ.get("PROCESSOR", "ours"))
elbo = -132.5 if os.environ.get("PROCESSOR") else -132.0
report = {"dataset": os.environ.get("DATASET", "mnist"), "test": {"elbo": elbo}}
pathlib.Path("reports/vae/tuned/elbo.json").write_text(json.dumps(report))
pathlib.Path("reports/report.html").write_text("large")
print("DVC_SECRET", os.environ.get("DVC_SECRET"), os.environ["MLFLOW_TRACKING_URI"])
print("mirror", os.environ.get("MNIST_MIRROR"), *sorted(os.listdir("data/raw")))
"""


@pytest.fixture(scope="module")
def once_made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A pipeline of one stage, which another PROCESSOR brings to other numbers; reproduced and committed."""
    project = Project(tmp_path_factory.mktemp("once") / "mini")
    (project.path / "data/raw").mkdir(parents=True)
    (project.path / "data/raw/published.gz").touch()
    (project.path / ".gitignore").write_text("/data/\n")
    (project.path / "dvc.yaml").write_text(MINI)
    (project.path / "params.yaml").write_text("{}\n")
    (project.path / "train.py").write_text(TRAIN)
    project.run("git", "init", "-q", "-b", "main")
    project.run("git", "config", "user.email", "tests@example.org")
    project.run("git", "config", "user.name", "Tests")
    project.run("dvc", "init", "-q")
    project.repro(MLFLOW_TRACKING_URI="none")
    commit(project)
    return project


@pytest.fixture
def mini(once_made: Project, tmp_path: Path) -> Project:
    return once_made.copy(tmp_path / "mini")


def verify(project: Project, *arguments: str, status: int = 0, **environment: str) -> str:
    printed = project.run("python", "-m", "pipeline.verify", *arguments, status=status, **environment)
    assert "Traceback" not in printed
    return printed


def test_the_pipeline_runs_in_a_clone_that_is_removed_and_touches_nothing_here(mini: Project) -> None:
    temporary = mini.path.parent / "temporary"
    temporary.mkdir()
    summary = mini.path.parent / "summary.md"
    summary.write_text("before\n")
    printed = verify(
        mini,
        TMPDIR=str(temporary),
        GITHUB_STEP_SUMMARY=str(summary),
        DVC_SECRET="of an outer dvc",
        MLFLOW_TRACKING_URI="sqlite:///mine.db",
        MNIST_MIRROR="mirrors/mnist",
    )
    assert "Running stage 'train'" in printed
    assert "DVC_SECRET None none\n" in printed
    assert f"mirror {mini.path / 'mirrors/mnist'} published.gz\n" in printed
    assert "BYTES: all 1 cached outputs" in printed
    assert printed.splitlines()[-1] == "verify: passed, 1 number in 1 file compared"
    assert summary.read_text().startswith("before\n### verify: passed, 1 number")
    assert not list(temporary.glob("verify-*"))
    assert not mini.run("git", "status", "--porcelain")


def test_another_processor_is_said_and_measured_by_the_projects_own_tolerances(mini: Project) -> None:
    printed = verify(mini, PROCESSOR="another")
    assert "NUMBERS: 0 of 1 cached outputs" in printed
    assert "0.5 of 1" in printed
    mini.edit("-132.5", "-140.0", file="train.py")
    mini.repro(MLFLOW_TRACKING_URI="none")
    commit(mini)
    printed = verify(mini, PROCESSOR="another", status=1)
    assert re.search(r"! test\.elbo +-132\.0 +-140\.0 +8 ", printed)


def test_another_dataset_is_an_error_whatever_its_numbers(mini: Project) -> None:
    printed = verify(mini, DATASET="uci-digits", status=1)
    assert "\nANOTHER DATASET: the committed numbers are of mnist, those obtained of uci-digits." in printed
    assert re.search(r"! dataset +mnist +uci-digits", printed)


def test_a_report_that_no_stage_makes_does_not_survive(mini: Project) -> None:
    (mini.path / "reports/typed.json").write_text('{"a": 1}')
    commit(mini)
    printed = verify(mini, status=1)
    assert re.search(r"reports/typed\.json\n.*\n! the file +there +missing\s+no stage makes it\n", printed)


def test_what_is_not_committed_is_mentioned_and_not_verified(mini: Project) -> None:
    mini.edit("-132.0", "-1.0", file="train.py")
    printed = verify(mini)
    assert "what is verified is HEAD; 1 changed or new files are not committed" in printed


def test_a_kept_clone_is_compared_again_until_the_code_changes(mini: Project) -> None:
    kept = mini.path.parent / "kept"
    verify(mini, "--keep", str(kept))
    assert "not empty" in verify(mini, "--keep", str(kept), status=1)
    assert "Running stage" not in verify(mini, "--against", str(kept))
    mini.edit("-132.0", "-132.1", file="train.py")
    commit(mini)
    printed = verify(mini, "--against", str(kept), status=1)
    assert "was made by other code or params than HEAD has:\n  train.py" in printed
    (kept / ".git/reproduced").unlink()
    assert "is no clone whose pipeline ran to its end" in verify(mini, "--against", str(kept), status=1)


def test_a_pipeline_that_fails_in_the_clone_is_an_error(mini: Project) -> None:
    (mini.path / "train.py").write_text("import sys\nsys.exit('defect')\n")
    commit(mini)
    printed = verify(mini, status=1)
    assert "defect" in printed
    assert "error: the pipeline of HEAD does not run in a clean clone" in printed


def test_without_a_repository_a_commit_or_a_lock_it_says_so(tmp_path: Path) -> None:
    project = Project(tmp_path)
    assert "error: this is no git repository" in verify(
        project, status=1, GIT_CEILING_DIRECTORIES=str(tmp_path.parent)
    )
    project.run("git", "init", "-q", "-b", "main")
    assert "has no commit yet" in verify(project, status=1)
    project.run(
        "git", "-c", "user.email=a@b", "-c", "user.name=c", "commit", "-q", "--allow-empty", "-m", "a"
    )
    assert "has no dvc.lock" in verify(project, status=1)


@pytest.mark.slow
def test_the_real_pipeline_passes_and_one_changed_number_does_not(small: Project, tmp_path: Path) -> None:
    """It repeats by force, elsewhere, and with what is exempt from deps taken away: it changes no output."""
    project = small.copy(tmp_path / "project")
    (project.path / "pipeline/tracking.py").write_text(
        "from contextlib import contextmanager\nfrom types import SimpleNamespace\n\n\n"
        "@contextmanager\ndef live(of, about, rows):\n    yield SimpleNamespace(log=lambda row: None)\n"
    )
    (project.path / "pipeline/checkpoints.py").write_text(
        "from types import SimpleNamespace\n\n\n"
        "def Checkpoints(of):\n    nothing = lambda *_: None\n"
        "    return SimpleNamespace(resume=lambda load: [], save=nothing, clear=nothing)\n"
    )
    (project.path / "pipeline/guard.py").write_text("def stand():\n    pass\n")
    (project.path / "pipeline/turns.py").write_text(
        "from contextlib import contextmanager\nfrom types import SimpleNamespace\n\n\n"
        "@contextmanager\ndef turn(stage):\n    yield SimpleNamespace(of=None, taken=False)\n"
    )
    # errors keep their words; what is shown, and how signals are taken, goes
    console = project.path / "pipeline/console.py"
    console.write_text(
        console.read_text() + "\n\ndef say(message):\n    pass\n\n\nwarn = say\n\n\n"
        "def progress(items, **about):\n    return items\n\n\n"
        "def until_run():\n    pass\n\n\n"
        "def explained(work):\n    work()\n\n\n"
        "run = explained\n"
    )
    commit(project)
    kept = tmp_path / "kept"
    before = project.run("git", "status", "--porcelain")
    # sorted sets and hashes: neither the seed of hashing nor locale or zone may show in an output
    printed = verify(project, "--keep", str(kept), PYTHONHASHSEED="123", TZ="Asia/Kathmandu", LC_ALL="C")
    assert "BYTES: all " in printed
    assert read(kept / "dvc.lock") == read(project.path / "dvc.lock")
    found = re.search(r"verify: passed, ([\d,]+) numbers in (\d+) files compared\n$", printed)
    assert found, printed
    assert int(found[1].replace(",", "")) > 1000
    listed = project.run("git", "ls-files", "reports").split()
    assert int(found[2]) == len([name for name in listed if not name.endswith(".gitignore")])
    assert project.run("git", "status", "--porcelain") == before

    committed = json.loads((project.path / SMALL_ELBO).read_text())["test"]["elbo"]
    project.edit(rf'"elbo": {committed}', f'"elbo": {committed + 1}', file=SMALL_ELBO)
    commit(project)
    printed = verify(project, "--against", str(kept), status=1)
    assert f"\n{SMALL_ELBO}\n" in printed
    assert re.search(rf"! test\.elbo +{committed + 1:.6f}\d* +{committed} +1 +0\n", printed)
    assert "edited by hand" in printed

    # the same with a model that another processor made
    lock = kept / "dvc.lock"
    model = r"(path: models/vae/notebook.safetensors\n +hash: md5\n +md5: )\w+"
    lock.write_text(re.sub(model, r"\1another", lock.read_text()))
    printed = verify(project, "--against", str(kept), status=1)
    assert re.search(r"BYTES: only \d+ of \d+ cached outputs", printed)
    assert re.search(r"\nmodels/vae/notebook\.safetensors\n.*\n! its md5 ", printed)
    # and with other packages, which may round differently
    packages = r"(path: data/packages\n +hash: md5\n +md5: )\w+"
    lock.write_text(re.sub(packages, r"\1another", lock.read_text()))
    printed = verify(project, "--against", str(kept), status=1)
    assert "NUMBERS: " in printed
    assert "since other versions of packages are installed" in printed
    assert re.search(rf"\n  test\.elbo +{committed + 1:.6f}\d* +{committed} +1 ", printed)
    assert "edited by hand" in printed


def names(root: Path) -> dict[str, bool]:
    """`file:key` of all that stands in a project's reports, and whether it has a number."""
    return {
        f"{path.relative_to(root).as_posix()}:{key}": any(
            re.fullmatch(r"-?\d[\d.e-]*", value) for value in values
        )
        for path in (root / "reports").rglob("*")
        if path.suffix in (".json", ".csv")
        for key, values in columns(path).items()
        if key not in IDENTITY
    }


def test_every_number_has_a_rule_and_every_rule_something_to_decide(reproduced: Project) -> None:
    rules = load()
    found = names(reproduced.path) | names(ROOT)
    assert [name for name, number in sorted(found.items()) if number and not rule_for(rules, name)] == []
    used = {id(rule_for(rules, name)) for name in found}
    assert [rule.match for rule in rules if id(rule) not in used] == []


def test_the_environment_keeps_an_address_as_a_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, expected in (("https://a/b", "https://a/b"), ("file://m", "/root/m"), ("/m", "/m"), ("", "")):
        monkeypatch.setenv("MNIST_MIRROR", value)
        assert environment(Path("/clone"), Path("/root"))["MNIST_MIRROR"] == expected
