"""The command of `make verify`, on a pipeline of one stage and on the real one with small settings."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conftest import Project, commit, init_git
from tests.support.repository import ROOT
from workflow.core.files import read_yaml
from workflow.reproduce.compare import IDENTITY, columns, compare, load_rules, number, rule_for
from workflow.reproduce.sandbox import environment

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
PYPROJECT = """[tool.workflow]
schema = "schema:Params"
tolerances = "tolerances.yaml"
variables = ["MNIST_MIRROR"]
"""
TOLERANCES = "rules: [{match: ['*:test.elbo'], absolute: 1, reason: trained}]\n"
TRAIN = """import json, os, pathlib
if os.environ.get("PROCESSOR") == "defect":
    raise SystemExit("there is a defect")
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
def reproduced_mini(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A pipeline of one stage whose numbers depend on PROCESSOR; reproduced and committed."""
    project = Project(tmp_path_factory.mktemp("reproduced") / "mini")
    (project.path / "data/raw").mkdir(parents=True)
    (project.path / "data/raw/published.gz").touch()
    (project.path / ".gitignore").write_text("/data/\n")
    (project.path / "dvc.yaml").write_text(MINI)
    (project.path / "pyproject.toml").write_text(PYPROJECT)
    (project.path / "tolerances.yaml").write_text(TOLERANCES)
    (project.path / "params.yaml").write_text("{}\n")
    (project.path / "train.py").write_text(TRAIN)
    init_git(project.path)
    project.run("dvc", "init", "-q")
    project.repro(MLFLOW_TRACKING_URI="none")
    commit(project)
    return project


@pytest.fixture
def mini(reproduced_mini: Project, tmp_path: Path) -> Project:
    return reproduced_mini.copy(tmp_path / "mini")


def verify(project: Project, *arguments: str, status: int = 0, **environment: str) -> str:
    printed = project.run(
        "python", "-m", "workflow.reproduce.verify", *arguments, status=status, **environment
    )
    assert "Traceback" not in printed
    return printed


def test_the_pipeline_runs_in_a_temporary_clone_and_changes_nothing_here(mini: Project) -> None:
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
    assert printed.splitlines()[-1] == "verify: passed; 1 numbers in 1 files compared"
    assert summary.read_text().startswith("before\n```\nBYTES: all 1 cached outputs")
    assert not list(temporary.glob("verify-*"))
    assert not mini.run("git", "status", "--porcelain")


def test_another_processor_is_reported_and_compared_by_the_projects_tolerances(mini: Project) -> None:
    printed = verify(mini, PROCESSOR="another")
    assert "NUMBERS: 0 of 1 cached outputs" in printed
    assert "0.5 of 1" in printed
    mini.edit("-132.5", "-140.0", file="train.py")
    mini.repro(MLFLOW_TRACKING_URI="none")
    commit(mini)
    printed = verify(mini, PROCESSOR="another", status=1)
    assert re.search(r"\n *test\.elbo +-132\.0 +-140\.0 +8 +1\n", printed)


def test_another_dataset_is_an_error_whatever_its_numbers(mini: Project) -> None:
    printed = verify(mini, DATASET="uci-digits", status=1)
    assert "\nANOTHER DATASET: its numbers are not compared." in printed
    assert re.search(r"\n *dataset +mnist +uci-digits", printed)


def test_a_head_that_is_not_consistent_fails_before_the_pipeline_runs(mini: Project) -> None:
    (mini.path / "reports/typed.json").write_text('{"a": 1}')
    mini.edit("-132.0", "-132.1", file="reports/vae/tuned/elbo.json")
    commit(mini)
    printed = verify(mini, status=1)
    assert "train: reports/vae/tuned/elbo.json differs from dvc.lock\n" in printed
    assert "no stage makes these files" in printed
    assert "  reports/typed.json\n" in printed
    assert "error: HEAD is not consistent (see above; exit code 1)" in printed
    assert "Running stage" not in printed


def test_uncommitted_changes_are_reported_and_not_verified(mini: Project) -> None:
    mini.edit("-132.0", "-1.0", file="train.py")
    printed = verify(mini)
    assert "1 changed or new files are not in HEAD, and not verified" in printed


def test_a_kept_clone_is_compared_again_until_the_code_changes(mini: Project) -> None:
    kept = mini.path.parent / "kept"
    verify(mini, "--keep", str(kept))
    assert "is not an empty directory" in verify(mini, "--keep", str(kept), status=1)
    assert "Running stage" not in verify(mini, "--against", str(kept))
    mini.edit("-132.0", "-132.1", file="train.py")
    mini.repro(MLFLOW_TRACKING_URI="none")
    commit(mini)
    printed = verify(mini, "--against", str(kept), status=1)
    assert "was made from other code or params than HEAD has:\n  train.py" in printed
    (kept / ".git/reproduced").unlink()
    assert "the pipeline did not succeed in" in verify(mini, "--against", str(kept), status=1)


def test_a_pipeline_that_fails_in_the_clone_is_an_error(mini: Project) -> None:
    printed = verify(mini, PROCESSOR="defect", status=1)
    assert "there is a defect" in printed
    assert "error: the pipeline of HEAD does not run in a clean clone" in printed


def test_a_missing_repository_commit_or_lock_is_reported(tmp_path: Path) -> None:
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
def test_the_real_pipeline_passes_and_one_changed_number_does_not(
    smallest_reproduced: Project, tmp_path: Path
) -> None:
    """The run is forced, in another folder, and without the modules that are exempt from deps."""
    project = smallest_reproduced.copy(tmp_path / "project")
    (project.path / "workflow/tracking/live.py").write_text(
        "from contextlib import contextmanager\nfrom types import SimpleNamespace\n\n\n"
        "@contextmanager\ndef live(inputs, tags, rows):\n    yield SimpleNamespace(log=lambda row: None)\n"
    )
    (project.path / "workflow/runs/checkpoints.py").write_text(
        "from types import SimpleNamespace\n\n\n"
        "def Checkpoints(inputs):\n    nothing = lambda *_: None\n"
        "    return SimpleNamespace(resume=lambda load: [], save=nothing, clear=nothing)\n"
    )
    (project.path / "workflow/runs/preflight.py").write_text("def check(stage):\n    pass\n")
    (project.path / "workflow/runs/locks.py").write_text(
        "from contextlib import contextmanager\nfrom types import SimpleNamespace\n\n\n"
        "@contextmanager\ndef shared_result(stage):\n    yield None, False\n"
    )
    # without printing and signal handling
    console = project.path / "workflow/runs/console.py"
    console.write_text(
        console.read_text() + "\n\ndef say(message):\n    pass\n\n\nwarn = say\n\n\n"
        "def progress(items, **about):\n    return items\n\n\n"
        "def exit_on_signals():\n    pass\n\n\n"
        "def run(main):\n    main()\n"
    )
    commit(project)
    kept = tmp_path / "kept"
    before = project.run("git", "status", "--porcelain")
    # hash seed, locale and time zone must not change an output
    printed = verify(project, "--keep", str(kept), PYTHONHASHSEED="123", TZ="Asia/Kathmandu", LC_ALL="C")
    assert "BYTES: all " in printed
    assert read_yaml(kept / "dvc.lock") == read_yaml(project.path / "dvc.lock")
    found = re.search(r"verify: passed; ([\d,]+) numbers in (\d+) files compared\n$", printed)
    assert found, printed
    assert int(found[1].replace(",", "")) > 1000
    listed = project.run("git", "ls-files", "reports").split()
    assert int(found[2]) == len([name for name in listed if not name.endswith(".gitignore")])
    assert project.run("git", "status", "--porcelain") == before

    # a changed number, with the committed models: every digit must be equal
    committed = json.loads((kept / SMALL_ELBO).read_text())["test"]["elbo"]
    Project(kept).edit(rf'"elbo": {committed}', f'"elbo": {committed + 1}', file=SMALL_ELBO)
    printed = verify(project, "--against", str(kept), status=1)
    assert f"\n{SMALL_ELBO}\n" in printed
    assert re.search(rf"\n *test\.elbo +{committed} +{committed + 1:.6f}\d* +1 +0\n", printed)

    # a changed number, with a model from another processor
    lock = kept / "dvc.lock"
    model = r"(path: models/vae/notebook.safetensors\n +hash: md5\n +md5: )\w+"
    lock.write_text(re.sub(model, r"\1another", lock.read_text()))
    printed = verify(project, "--against", str(kept), status=1)
    assert re.search(r"BYTES: only \d+ of \d+ cached outputs", printed)
    assert re.search(r"\nmodels/vae/notebook\.safetensors\n.*\n.*\n *its md5 ", printed)
    # also with other packages, which may round differently
    packages = r"(path: data/packages\n +hash: md5\n +md5: )\w+"
    lock.write_text(re.sub(packages, r"\1another", lock.read_text()))
    printed = verify(project, "--against", str(kept))
    assert "NUMBERS: " in printed
    assert "because other versions of packages are installed" in printed
    assert re.search(r"the largest is \d+% of its limit: 1 of ", printed)


def test_every_number_has_a_rule_with_a_limit_and_every_rule_has_a_number(reproduced: Project) -> None:
    rules, used = load_rules(), set()
    for root in (reproduced.path, ROOT):
        for path in [*root.glob("reports/**/*.json"), *root.glob("reports/**/*.csv")]:
            table = columns(path)
            for key, values in table.items():
                name = f"{path.relative_to(root).as_posix()}:{key}"
                if key in IDENTITY or not any(number(value) for value in values):
                    continue
                rule = rule_for(rules, name)
                assert rule, name
                used.add(id(rule))
                only_errors = rule.errors and rule.absolute is rule.relative is None
                assert not only_errors or f"{key}_se" in table, name
    assert [rule.match for rule in rules if id(rule) not in used] == []


@pytest.mark.parametrize(
    ("file", "key", "passes", "fails"),
    [
        ("reports/vae/tuned/elbo.json", "test.elbo", 1.2, 2.5),
        ("reports/vae/tuned/likelihood.json", "test.inference_gap", 0.7, 2.5),
        ("reports/vae/tuned/likelihood.json", "test.gaps.approximation_of_better_start", 0.011, 0.05),
        ("reports/vae/tuned/latents.json", "probe_accuracy", 0.017, 0.06),
        ("reports/classifier/images/metrics.json", "accuracy", 0.002, 0.005),
        ("reports/quadratic/high_dimensional/metrics.json", "final_loss", 0.000001, 0.0001),
        ("reports/vae/tuned/elbo.json", "samples", 0, 1),
    ],
)
def test_differences_between_processors_pass_and_larger_ones_fail(
    tmp_path: Path, file: str, key: str, passes: float, fails: float
) -> None:
    for folder in ("committed", "obtained"):
        (tmp_path / folder / file).parent.mkdir(parents=True)
        out = {"path": "models/one", "md5": folder}
        lock = {"stages": {"train": {"cmd": "train", "outs": [out]}}}
        (tmp_path / folder / "dvc.lock").write_text(json.dumps(lock))
    content = json.loads((ROOT / file).read_text())
    (tmp_path / "committed" / file).write_text(json.dumps(content))
    *sections, name = key.split(".")
    section = content
    for part in sections:
        section = section[part]
    before = section[name]
    for difference, count in ((passes, 0), (fails, 1)):
        section[name] = round(before + difference, 6)
        (tmp_path / "obtained" / file).write_text(json.dumps(content))
        result = compare(
            tmp_path / "committed", tmp_path / "obtained", load_rules(ROOT / "stages/tolerances.yaml")
        )
        assert [found.place for found in result.failures] == [key] * count


def test_only_mirrors_that_are_paths_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    relative = str(tmp_path / "m")
    for value, expected in (("https://a/b", "https://a/b"), ("file://m", relative), ("/m", "/m"), ("", "")):
        monkeypatch.setenv("MNIST_MIRROR", value)
        assert environment(Path("/clone"), tmp_path)["MNIST_MIRROR"] == expected
