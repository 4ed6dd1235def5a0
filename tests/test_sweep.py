"""The README's sweep in DVC's queue: MLflow and DVC say the same of it, and MLflow's page what differs."""

from __future__ import annotations

import csv
import io
import re
import shlex
import time
from collections import defaultdict
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from playwright.sync_api import Page

from pipeline.numbers import columns, number
from pipeline.params import read
from tests.conftest import Project
from tests.pages import mlflow_pages, open_comparison
from tests.stores import EVERY, every_run, store
from tests.test_everywhere import without_store
from tests.test_readme import README

LRS = ["0.0005", "0.001", "0.002"]
WHOLE = "whole"  # the name of an experiment of which nothing is out of date


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
        file, _, rest = key.partition("/")
        if file in files and rest:
            metrics[f"reports/{family}/{variant}/{file}.json:{rest}"] = value
    return params, metrics


@pytest.fixture(scope="module")
def swept(reproduced: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project after the README's sweep and an experiment without a target, on a machine without a store."""
    project = without_store(reproduced.copy(tmp_path_factory.mktemp("swept") / "project"))
    (line,) = re.findall(r"^(dvc exp run --queue .*)$", README, re.M)
    project.run(*shlex.split(line.replace("data.validation=10000", "data.validation=200")))
    project.run("dvc", "exp", "run", "--queue", "-n", WHOLE, "-S", "quadratic.well_conditioned.lr=0.001")
    project.run("dvc", "queue", "start", "-j", "2")
    while re.search("Queued|Running", project.run("dvc", "queue", "status")):
        time.sleep(1)
    states = re.findall("Success|Failed", project.run("dvc", "queue", "status"))
    assert states == ["Success"] * 4
    project.run("python", "-m", "stages.track")
    return project


@pytest.mark.slow
@pytest.mark.spine
@pytest.mark.xdist_group("swept")
def test_a_sweep_in_the_queue_stands_in_mlflow_as_in_dvc_to_the_last_digit(
    swept: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = swept
    rows = {name: row for name, row in shown(project).items() if name != "workspace"}
    baseline = rows.pop("main")
    assert len(rows) == 4
    lr, loss = "quadratic.well_conditioned.lr", "reports/metrics/quadratic/well_conditioned.json:log10_f"
    assert rows[WHOLE][lr] == "0.001" != baseline[lr]
    assert float(rows[WHOLE][loss]) > float(baseline[loss])
    assert rows[WHOLE]["tuned.elbo"] == baseline["tuned.elbo"]
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
        names = {name for name, _ in found[experiment]}
        # of an experiment with a target, what it left as it was is no result of its params
        stale = {"vae/notebook", "classifier/images"} if experiment != WHOLE else set()
        assert names == EVERY - stale
        params: dict[str, str] = {}
        metrics: dict[str, float] = {}
        for name, run in found[experiment]:
            of_run = as_in_dvc(name, run, sections)
            assert all(params.get(key, value) == value for key, value in of_run[0].items())
            params |= of_run[0]
            metrics |= of_run[1]
        compare(row, params, metrics, whole=experiment == WHOLE)
        measured[experiment] = metrics
    # trained once each: `tuned` by each experiment of the sweep, and what they share by the baseline
    trained = [name for name, run in every_run(store(project)) if run.data.tags.get("experiments")]
    assert sorted(trained) == sorted([*EVERY, *["vae/tuned"] * 3, "quadratic/well_conditioned"])
    shared = next(run for name, run in found[WHOLE] if name == "classifier/annuli")
    assert shared.data.tags["experiments"] == ", ".join(sorted(rows))
    client = MlflowClient(store(project))
    for run in of_the_sweep(project):
        history = client.get_metric_history(run.info.run_id, "by_epoch/test_elbo")
        assert [item.step for item in history] == [1, 2]
    best = client.get_model_version_by_alias("vae-decoder", "best")
    scores = {
        run.info.run_id: run.data.metrics["elbo/validation.elbo"]
        for _, run in every_run(store(project))
        if "elbo/validation.elbo" in run.data.metrics
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
@pytest.mark.spine
@pytest.mark.xdist_group("swept")
def test_mlflows_page_of_two_runs_shows_just_the_param_that_differs(swept: Project) -> None:
    tuned = of_the_sweep(swept)
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


def of_the_sweep(project: Project) -> list[Run]:
    every = every_run(store(project))
    ours = [run for name, run in every if name == "vae/tuned" and run.data.tags.get("experiments")]
    return [run for run in ours if run.data.tags["experiments"] != WHOLE]


# The few numbers that DVC compares, and in which file of a run each stands.
FEW = {
    "elbo": "elbo.json:test.elbo",
    "validation_elbo": "elbo.json:validation.elbo",
    "logp": "likelihood.json:test.log_likelihood",
    "gap": "likelihood.json:test.inference_gap",
    "accuracy": "metrics.json:accuracy",
    "log10_f": "metrics.json:log10_final_loss",
}


def compare(row: dict[str, str], params: dict[str, str], metrics: dict[str, float], *, whole: bool) -> None:
    """Every param of DVC's row, and each of its numbers, is that of the runs, and the other way about.

    Args:
        whole: of all sections and files; else of those that the runs have.
    """
    known = read("params.yaml")
    theirs = {key: value for key, value in row.items() if key.partition(".")[0] in known}
    assert {key: value for key, value in theirs.items() if whole or key in params} == params
    assert whole or {key for key in theirs if key.startswith(("vae.tuned.", "data."))} <= params.keys()
    shown = {}
    for column, text in row.items():
        # DVC leaves out the path where a name stands in one file only, as `tuned.elbo` does
        found = re.fullmatch(r"(?:reports/metrics/(\w+)/(\w+)\.json:|(\w+)\.)(\w+)", column)
        if found and not text:  # what another experiment has: held-out images
            continue
        if found and found[4] in FEW:
            folder = f"{found[1] or 'vae'}/{found[2] or found[3]}"
            shown[f"reports/{folder}/{FEW[found[4]]}"] = float(text)
        else:
            assert ".json:" not in column
    files = {key.partition(":")[0] for key in metrics}
    shown = {key: value for key, value in shown.items() if whole or key.partition(":")[0] in files}
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
