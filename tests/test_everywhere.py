"""However a run was made, MLflow and DVC say the same of it: queues, copies, subfolders, several at once."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import subprocess
import time
from collections import defaultdict
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from playwright.sync_api import Page

from pipeline.numbers import columns, number
from pipeline.params import read
from tests.conftest import OFFLINE, Project, clean_environment, commit
from tests.pages import mlflow_pages, open_comparison
from tests.stores import EVERY, content, every_run, store

LRS = ["0.0005", "0.001", "0.002"]


def without_store(project: Project) -> Project:
    """For a project whose store this process has not opened: SQLAlchemy would go on with the deleted file."""
    for name in ("mlflow.db", "mlflow.db.lock"):
        (project.path / name).unlink(missing_ok=True)
    return project


def start(project: Project, *command: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, cwd=project.path, env=clean_environment() | OFFLINE | environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """What a process prints until it has printed these words, which it has to."""
    assert process.stdout
    printed = ""
    for line in process.stdout:
        printed += line
        if words in line:
            return printed
    raise AssertionError(printed)


def rest_of(process: subprocess.Popen[str]) -> str:
    """What it prints from there on; it has to end well."""
    assert process.stdout
    printed = process.stdout.read()
    assert process.wait(timeout=600) == 0, printed
    return printed


def shown(project: Project) -> dict[str, dict[str, str]]:
    """The rows of `dvc exp show` by experiment; the baseline's is `main`."""
    table = csv.DictReader(io.StringIO(project.run("dvc", "exp", "show", "--csv")))
    return {row["Experiment"] or row["rev"]: row for row in table}


def as_in_dvc(name: str, run: Run, sections: set[str]) -> tuple[dict[str, str], dict[str, float]]:
    """A run's params and final metrics by the names that DVC gives them."""
    family, variant = name.split("/")
    params = {
        key if key.partition(".")[0] in sections else f"{family}.{variant}.{key}": ""
        if value == "None"
        else value
        for key, value in run.data.params.items()
    }
    files = {path.stem for path in Path("reports", family, variant).glob("*.json")}
    assert files
    metrics = {}
    for key, value in run.data.metrics.items():
        file, _, rest = key.partition(".")
        if file in files and rest:
            metrics[f"reports/{family}/{variant}/{file}.json:{rest}"] = value
    return params, metrics


@pytest.fixture(scope="module")
def swept(reproduced: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a held-out split after the README's sweep, on a machine without a store."""
    project = without_store(reproduced.copy(tmp_path_factory.mktemp("swept") / "project"))
    project.edit("validation: 0", "validation: 200")
    commit(project)
    project.run("dvc", "exp", "run", "--queue", "-S", f"vae.tuned.lr={','.join(LRS)}")
    # two workers train the same judge and the same `notebook` at once
    project.run("dvc", "queue", "start", "-j", "2")
    while re.search("Queued|Running", project.run("dvc", "queue", "status")):
        time.sleep(1)
    states = re.findall("Success|Failed", project.run("dvc", "queue", "status"))
    assert states == ["Success"] * 3
    project.run("python", "-m", "stages.track")
    return project


@pytest.mark.slow
@pytest.mark.xdist_group("swept")
def test_a_sweep_in_the_queue_stands_in_mlflow_as_in_dvc_to_the_last_digit(
    swept: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = swept
    rows = {name: row for name, row in shown(project).items() if name not in ("workspace", "main")}
    assert len(rows) == 3
    monkeypatch.chdir(project.path)
    sections = set(read("params.yaml"))
    found: dict[str, list[tuple[str, Run]]] = defaultdict(list)
    for name, run in every_run(store(project)):
        assert run.info.status == "FINISHED"
        for experiment in filter(None, run.data.tags.get("experiments", "").split(", ")):
            found[experiment].append((name, run))
    assert found.keys() == rows.keys()
    measured: dict[str, dict[str, float]] = {}
    for experiment, row in rows.items():
        assert {name for name, _ in found[experiment]} == EVERY
        params: dict[str, str] = {}
        metrics: dict[str, float] = {}
        for name, run in found[experiment]:
            of_run = as_in_dvc(name, run, sections)
            assert all(params.get(key, value) == value for key, value in of_run[0].items())
            params |= of_run[0]
            metrics |= of_run[1]
        compare(row, params, metrics)
        measured[experiment] = metrics
    # trained once each: three `tuned`, and one of all that the experiments share (beside the baseline's own)
    trained = [name for name, run in every_run(store(project)) if run.data.tags.get("experiments")]
    assert sorted(trained) == sorted([*EVERY, "vae/tuned", "vae/tuned"])
    shared = next(run for name, run in found[next(iter(rows))] if name == "vae/notebook")
    assert shared.data.tags["experiments"] == ", ".join(sorted(rows))
    client = MlflowClient(store(project))
    assert [item.step for item in client.get_metric_history(shared.info.run_id, "test_elbo")] == [1, 2]
    best = client.get_model_version_by_alias("vae-decoder", "best")
    scores = {
        run.info.run_id: run.data.metrics["elbo.validation.elbo"]
        for _, run in every_run(store(project))
        if "elbo.validation.elbo" in run.data.metrics
    }
    assert best.run_id == max(scores, key=lambda run_id: scores[run_id])
    for experiment, of_it in found.items():  # applied, it brings the models of its runs
        project.run("dvc", "exp", "apply", experiment)
        compare_files(measured[experiment])
        locked = (project.path / "dvc.lock").read_text()
        for name, run in of_it:
            assert run.data.tags["git_dirty"] == "false"
            assert name.startswith("quadratic") or run.data.tags["model_md5"] in locked


@pytest.mark.slow
@pytest.mark.xdist_group("swept")
def test_mlflows_page_of_two_runs_shows_just_the_param_that_differs(swept: Project) -> None:
    every = every_run(store(swept))
    tuned = [run for name, run in every if name == "vae/tuned" and run.data.tags.get("experiments")]
    with mlflow_pages(swept.path, height=3000) as (page, address):
        open_comparison(page, address, tuned)
        for run in tuned:
            assert run.info.run_id in page.content()
        assert "activation" in params_shown(page)
        page.get_by_label("Parameters - Show diff only").click()
        page.wait_for_timeout(1000)
        shown = params_shown(page)
        assert shown.keys() == {"lr"}
        assert sorted(shown["lr"]) == sorted(LRS)


def params_shown(page: Page) -> dict[str, list[str]]:
    """The rows in sight of the table of params in MLflow's comparison."""
    section = page.inner_text("body").partition("\nParameters\n")[2].partition("\nMetrics\n")[0]
    cells = [line.split("\t") for line in section.splitlines() if "\t" in line]
    return {row[0]: row[1:] for row in cells}


# The few numbers that DVC compares, and in which file of a run each stands.
FEW = {
    "elbo": "elbo.json:test.elbo",
    "validation_elbo": "elbo.json:validation.elbo",
    "logp": "likelihood.json:test.log_likelihood",
    "gap": "likelihood.json:test.inference_gap",
    "accuracy": "metrics.json:accuracy",
    "log10_f": "metrics.json:log10_final_loss",
}


def compare(row: dict[str, str], params: dict[str, str], metrics: dict[str, float]) -> None:
    """Every param of DVC's row, and each of its numbers, is that of the runs, and the other way about."""
    known = read("params.yaml")
    assert {key: value for key, value in row.items() if key.partition(".")[0] in known} == params
    shown = {}
    for column, text in row.items():
        # DVC leaves out the path where a name stands in one file only, as `tuned.elbo` does
        found = re.fullmatch(r"(?:reports/metrics/(\w+)/(\w+)\.json:|(\w+)\.)(\w+)", column)
        if found and found[4] in FEW:
            folder = f"{found[1] or 'vae'}/{found[2] or found[3]}"
            shown[f"reports/{folder}/{FEW[found[4]]}"] = float(text)
        else:
            assert ".json:" not in column
    assert shown == {key: value for key, value in metrics.items() if key.split("/", 3)[3] in FEW.values()}


def compare_files(metrics: dict[str, float]) -> None:
    """Every number of the metrics files here, which DVC's row does not show, is that of the runs."""
    files = {key.partition(":")[0] for key in metrics}
    found = {
        f"{file}:{key}": float(value)
        for file in files
        for key, (value,) in columns(Path(file)).items()
        if number(value) is not None
    }
    words = {key for key in metrics if key not in found}  # true and false, which MLflow has as 1 and 0
    assert found == {key: value for key, value in metrics.items() if key not in words}
    assert all(metrics[key] in (0, 1) for key in words)


@pytest.mark.slow
def test_a_temporary_run_and_a_subfolder_log_to_the_main_store(reproduced: Project, tmp_path: Path) -> None:
    project = reproduced.copy(tmp_path / "project")
    project.run("python", "-m", "stages.track")
    before = len(every_run(store(project)))
    printed = project.run(
        "dvc", "exp", "run", "--temp", "-n", "warmer", "-S", "classifier.images.lr=0.003",
        "train_classifier@images",
    )  # fmt: skip
    assert "Ran experiment" in printed
    below = Project(project.path / "stages")
    printed = below.run("dvc", "repro", "--force", "--single-item", "../dvc.yaml:train_vae@notebook")
    assert "not tracking" not in printed
    below.run("python", "-m", "stages.track")
    assert not list((project.path / "stages").glob("ml*"))
    every = every_run(store(project))
    assert len(every) == before + 1
    of_it = [name_run for name_run in every if name_run[1].data.tags.get("experiments") == "warmer"]
    (made,) = (run for name, run in of_it if name == "classifier/images")
    assert made.data.params["lr"] == "0.003"
    client = MlflowClient(store(project))
    path = client.download_artifacts(made.info.run_id, "metrics.json", str(tmp_path))
    assert made.data.metrics["metrics.accuracy"] == json.loads(Path(path).read_text())["accuracy"]
    assert Path(made.info.artifact_uri.removeprefix("file://")).is_relative_to(project.path)


@pytest.mark.slow
def test_four_first_starts_at_once_lose_no_run(reproduced: Project, tmp_path: Path) -> None:
    projects = [reproduced.copy(tmp_path / f"project{number}") for number in range(4)]
    address = f"sqlite:///{tmp_path}/shared.db"
    processes = []
    for place, project in enumerate(projects):
        project.edit("lr: 0.002", f"lr: 0.00{place + 3}", count=0)
        command = ["dvc", "repro", "--single-item", "train_classifier@images"]
        processes.append(start(project, *command, MLFLOW_TRACKING_URI=address))
    for process in processes:
        printed, _ = process.communicate(timeout=600)
        assert process.returncode == 0, printed
        assert "not tracking" not in printed
    found = every_run(address)
    assert sorted(run.data.params["lr"] for _, run in found) == ["0.003", "0.004", "0.005", "0.006"]
    assert {run.info.status for _, run in found} == {"FINISHED"}


@pytest.mark.slow
def test_of_two_processes_with_the_same_inputs_the_second_waits_and_takes_the_files(
    project: Project,
) -> None:
    project.edit(r"(\n  notebook:[\s\S]*?)epochs: 2", r"\1epochs: 40")
    other = project.copy(project.path.parent / "other")
    # as in a queue: two folders, one main repository
    root = str(project.path)
    first = start(project, "python", "-m", "stages.train_vae", "notebook", DVC_ROOT=root)
    printed = [read_until(first, "epoch ")]
    first.send_signal(signal.SIGSTOP)  # until the other waits for it
    (other.path / "models/vae/notebook.safetensors").unlink()
    second = start(other, "python", "-m", "stages.train_vae", "notebook", DVC_ROOT=root)
    printed.append(read_until(second, "waiting for its files"))
    first.send_signal(signal.SIGCONT)
    printed[0] += rest_of(first)
    printed[1] += rest_of(second)
    assert printed[0].count("epoch ") == 40
    assert "epoch " not in printed[1]
    for path in ("models/vae/notebook.safetensors", "reports/vae/notebook/training.csv"):
        assert (other.path / path).read_bytes() == (project.path / path).read_bytes()
    # nobody is at work now: whoever comes trains
    again = start(other, "python", "-m", "stages.train_vae", "notebook", DVC_ROOT=root)
    assert again.communicate(timeout=600)[0].count("epoch ") == 40


@pytest.mark.slow
def test_results_from_the_run_cache_a_remote_or_an_applied_experiment_get_their_runs(
    project: Project, tmp_path: Path
) -> None:
    remote = tmp_path / "remote"
    project.run("dvc", "remote", "add", "-d", "storage", str(remote))
    project.run("dvc", "push", "-q")
    clone = Project(tmp_path / "clone")
    commit(project)
    project.run("git", "clone", "-q", str(project.path), str(clone.path))
    # what git has of HEAD is there before anything is pulled; weights that cannot be had are not
    remote.rename(tmp_path / "away")
    assert "try `dvc pull`" in clone.run("python", "-m", "stages.track")
    assert not content(store(clone)).keys() & {"vae-encoder", "vae-decoder"}
    (tmp_path / "away").rename(remote)
    clone.run("dvc", "pull", "-q")
    clone.run("python", "-m", "stages.track")
    project.run("python", "-m", "stages.track")
    assert content(store(clone)) == content(store(project))
    # an experiment, then back, without its run in MLflow; applied, nothing is computed, and it has its run
    printed = project.run("dvc", "exp", "run", "-n", "other", "-S", "quadratic.ill_conditioned.lr=0.7")
    assert "Running stage 'optimize_quadratic@ill_conditioned'" in printed
    project.run("git", "checkout", "-q", ".")
    project.run("dvc", "checkout", "-q")
    project = without_store(project.copy(tmp_path / "again"))
    project.run("python", "-m", "stages.track")
    found = every_run(store(project))
    (of_it,) = (run for _, run in found if run.data.params.get("lr") == "0.7")
    assert of_it.data.tags["experiments"] == "other"
    project.run("dvc", "exp", "apply", "other")
    project.run("dvc", "exp", "remove", "other")
    assert project.repro() == []
    project.run("python", "-m", "stages.track")
    assert len(every_run(store(project))) == len(found)
    assert "experiments" not in MlflowClient(store(project)).get_run(of_it.info.run_id).data.tags


def stage_modules() -> list[str]:
    return sorted(
        path.stem for path in Path(__file__).parent.parent.glob("stages/*.py") if path.stem != "__init__"
    )


def test_no_stage_imports_mlflow_before_it_trains(tmp_path: Path) -> None:
    imported = "\n".join(f"import stages.{name}" for name in stage_modules())
    code = f"import sys\n{imported}\nassert not {{'mlflow', 'dvc'}} & set(sys.modules)"
    Project(tmp_path).run("python", "-c", code)
