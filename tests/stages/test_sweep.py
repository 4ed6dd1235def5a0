"""A sweep in DVC's queue: MLflow and DVC show equal numbers, and MLflow's page the difference."""

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

from tests.conftest import Project
from tests.support.docs import documented
from tests.support.pages import mlflow_pages, open_comparison
from tests.support.stores import RUN_NAMES, all_runs, delete_store, store_uri
from workflow.core.files import read_yaml
from workflow.reproduce.compare import columns, number

LRS = ["0.0005", "0.001", "0.002"]
WHOLE = "whole"  # the name of the experiment that ran without a target


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
    """A project after the documented sweep and an experiment without a target, with no store before."""
    project = delete_store(reproduced.copy(tmp_path_factory.mktemp("swept") / "project"))
    queue = documented("dvc exp run --queue").replace("data.validation=10000", "data.validation=200")
    project.run(*shlex.split(queue))
    project.run("dvc", "exp", "run", "--queue", "-n", WHOLE, "-S", "quadratic.well_conditioned.lr=0.001")
    project.run(*shlex.split(documented("dvc queue start").replace("-j 1", "-j 2")))
    while re.search("Queued|Running", project.run("dvc", "queue", "status")):
        time.sleep(1)
    states = re.findall("Success|Failed", project.run("dvc", "queue", "status"))
    assert states == ["Success"] * 4
    project.run("python", "-m", "workflow.tracking")
    return project


@pytest.mark.slow
@pytest.mark.xdist_group("swept")
def test_mlflow_and_dvc_show_the_same_numbers_for_a_queued_sweep(
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
    sections = set(read_yaml("params.yaml"))
    found: dict[str, list[tuple[str, Run]]] = defaultdict(list)
    for name, run in all_runs(store_uri(project)):
        assert run.info.status == "FINISHED"
        for experiment in filter(None, run.data.tags.get("experiments", "").split(", ")):
            found[experiment].append((name, run))
    assert found.keys() == rows.keys()
    measured: dict[str, dict[str, float]] = {}
    for experiment, row in rows.items():
        names = {name for name, _ in found[experiment]}
        # an experiment with a target has no results of the stages that it did not run
        stale = {"vae/notebook", "classifier/images"} if experiment != WHOLE else set()
        assert names == RUN_NAMES - stale
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
    trained = [name for name, run in all_runs(store_uri(project)) if run.data.tags.get("experiments")]
    assert sorted(trained) == sorted([*RUN_NAMES, *["vae/tuned"] * 3, "quadratic/well_conditioned"])
    shared = next(run for name, run in found[WHOLE] if name == "classifier/annuli")
    assert shared.data.tags["experiments"] == ", ".join(sorted(rows))
    client = MlflowClient(store_uri(project))
    for run in of_the_sweep(project):
        history = client.get_metric_history(run.info.run_id, "by_epoch/test_elbo")
        assert [item.step for item in history] == [1, 2]
    best = client.get_model_version_by_alias("vae-decoder", "best")
    scores = {
        run.info.run_id: run.data.metrics["elbo/validation.elbo"]
        for _, run in all_runs(store_uri(project))
        if "elbo/validation.elbo" in run.data.metrics
    }
    assert best.run_id == max(scores, key=lambda run_id: scores[run_id])
    for experiment, runs in found.items():  # `dvc exp apply` restores the models of its runs
        project.run("dvc", "exp", "apply", experiment)
        compare_files(measured[experiment])
        locked = (project.path / "dvc.lock").read_text()
        for name, run in runs:
            assert run.data.tags["git_dirty"] == "false"
            assert name.startswith("quadratic") or run.data.tags["model_md5"] in locked


@pytest.mark.slow
@pytest.mark.xdist_group("swept")
def test_mlflows_comparison_page_shows_only_the_param_that_differs(swept: Project) -> None:
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
    every = all_runs(store_uri(project))
    runs = [run for name, run in every if name == "vae/tuned" and run.data.tags.get("experiments")]
    return [run for run in runs if run.data.tags["experiments"] != WHOLE]


# The metrics that DVC compares, and the file and key of each in a run.
COMPARED = {
    "elbo": "elbo.json:test.elbo",
    "validation_elbo": "elbo.json:validation.elbo",
    "logp": "likelihood.json:test.log_likelihood",
    "gap": "likelihood.json:test.inference_gap",
    "accuracy": "metrics.json:accuracy",
    "log10_f": "metrics.json:log10_final_loss",
}


def compare(row: dict[str, str], params: dict[str, str], metrics: dict[str, float], *, whole: bool) -> None:
    """Params and metrics of DVC's row equal those of the runs, in both directions.

    Args:
        whole: compare all sections and files, not only those that the runs have.
    """
    known = read_yaml("params.yaml")
    row_params = {key: value for key, value in row.items() if key.partition(".")[0] in known}
    assert {key: value for key, value in row_params.items() if whole or key in params} == params
    assert whole or {key for key in row_params if key.startswith(("vae.tuned.", "data."))} <= params.keys()
    shown = {}
    for column, text in row.items():
        # DVC leaves out the path of a name that is in one file only, such as `tuned.elbo`
        found = re.fullmatch(r"(?:reports/metrics/(\w+)/(\w+)\.json:|(\w+)\.)(\w+)", column)
        if found and not text:  # a metric of another experiment: held-out images
            continue
        if found and found[4] in COMPARED:
            folder = f"{found[1] or 'vae'}/{found[2] or found[3]}"
            shown[f"reports/{folder}/{COMPARED[found[4]]}"] = float(text)
        else:
            assert ".json:" not in column
    files = {key.partition(":")[0] for key in metrics}
    shown = {key: value for key, value in shown.items() if whole or key.partition(":")[0] in files}
    assert shown == {
        key: value for key, value in metrics.items() if key.split("/", 3)[3] in COMPARED.values()
    }


def compare_files(metrics: dict[str, float]) -> None:
    """Every metric of the runs equals the number of its file; DVC's row does not show all of them."""
    files = {key.partition(":")[0] for key in metrics}
    found = {
        f"{file}:{key}": float(value)
        for file in files
        for key, (value,) in columns(Path(file)).items()
        if number(value) is not None
    }
    booleans = {key for key in metrics if key not in found}  # MLflow stores true and false as 1 and 0
    assert metrics.items() - found.items() == {(key, metrics[key]) for key in booleans}
    assert all(metrics[key] in (0, 1) for key in booleans)
