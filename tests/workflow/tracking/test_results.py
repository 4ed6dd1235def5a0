"""Which run a file belongs to, which results are of this clone, links to them: in a small DVC pipeline."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import pytest

from tests.conftest import Project, small_pipeline
from tests.support.repository import ROOT
from tests.support.stores import RUN_NAMES
from workflow.core.errors import UserError
from workflow.core.files import read_json
from workflow.runs.project import Models, project
from workflow.runs.project import Project as Settings
from workflow.tracking import ui
from workflow.tracking.results import all_results, results_of
from workflow.tracking.store import Store
from workflow.tracking.sync import best_values, numbers

# some names are prefixes of others, and a VAE and a classifier share one
PIPELINE = """
vars: [params.yaml]
stages:
  train_vae:
    matrix: {variant: "${vae}"}
    cmd: sh write.sh models/vae/${item.variant}
    params: ["vae.${item.variant}"]
    outs: ["models/vae/${item.variant}"]
  evaluate_elbo:
    matrix: {variant: "${vae}"}
    cmd: sh write.sh reports/vae/${item.variant}/elbo.json
    deps: ["models/vae/${item.variant}", models/classifier/images]
    params: ["vae.${item.variant}.activation"]
    metrics: ["reports/vae/${item.variant}/elbo.json": {cache: false}]
  render_vae:
    matrix: {variant: "${vae}"}
    cmd: sh write.sh reports/figures/vae/${item.variant}/deep.png
    deps: ["reports/vae/${item.variant}/elbo.json"]
    params: ["vae.${item.variant}.activation"]
    outs: ["reports/figures/vae/${item.variant}": {cache: false}]
  train_classifier:
    matrix: {name: "${classifier}"}
    cmd: sh write.sh models/classifier/${item.name}
    params: ["classifier.${item.name}"]
    outs: ["models/classifier/${item.name}"]
  render_classifiers:
    cmd: >-
      sh write.sh reports/figures/classifier/images/curves.png
      reports/figures/classifier/images_more/curves.png
    deps: [models/classifier/images, models/classifier/images_more]
    params: [figures, classifier.images_more]
    outs:
      - reports/figures/classifier/images: {cache: false}
      - reports/figures/classifier/images_more: {cache: false}
  optimize_quadratic:
    matrix: {problem: "${quadratic}"}
    cmd: sh write.sh reports/quadratic/${item.problem}/metrics.json
    params: ["quadratic.${item.problem}"]
    metrics: ["reports/quadratic/${item.problem}/metrics.json": {cache: false}]
  render_quadratic:
    matrix: {problem: "${quadratic}"}
    cmd: sh write.sh reports/figures/quadratic/${item.problem}/loss.png
    deps: ["reports/quadratic/${item.problem}/metrics.json"]
    params: ["quadratic.${item.problem}"]
    plots: ["reports/figures/quadratic/${item.problem}/loss.png": {cache: false}]
  render_report:
    cmd: sh write.sh reports/README.md
    deps: [reports/figures, reports/vae]
    outs: [reports/README.md: {cache: false}]
"""
PARAMS = """
vae:
  tuned: {lr: 1, activation: relu}
  tuned_deep: {lr: 2, activation: relu}
  images: {lr: 3, activation: relu}
classifier:
  images: {lr: 4}
  images_more: {lr: 5}
quadratic:
  steep: {lr: 6}
  steep_more: {lr: 7}
figures: {dpi: 100}
"""
SETTINGS = """
[tool.workflow]
schema = ""
runs = ["train_vae", "train_classifier", "optimize_quadratic"]
"""
WRITE = 'for path; do mkdir -p "$(dirname "$path")"; echo "{\\"path\\": \\"$path\\"}" > "$path"; done\n'


FILES = {"dvc.yaml": PIPELINE, "params.yaml": PARAMS, "write.sh": WRITE, "pyproject.toml": SETTINGS}


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return small_pipeline(tmp_path_factory.mktemp("results") / "mini", FILES)


def test_a_run_has_only_its_own_files_and_params(mini: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mini.path)
    found = {result.inputs.stage: result for result in results_of(None)}
    figures = "reports/figures"
    assert {stage: set(result.files) for stage, result in found.items()} == {
        f"train_vae@{name}": {
            f"models/vae/{name}", f"reports/vae/{name}/elbo.json", f"{figures}/vae/{name}/deep.png",
        }
        for name in ("tuned", "tuned_deep", "images")
    } | {
        f"train_classifier@{name}": {f"models/classifier/{name}", f"{figures}/classifier/{name}/curves.png"}
        for name in ("images", "images_more")
    } | {
        f"optimize_quadratic@{name}": {
            f"reports/quadratic/{name}/metrics.json", f"{figures}/quadratic/{name}/loss.png",
        }
        for name in ("steep", "steep_more")
    }  # fmt: skip
    params = {stage: result.inputs.short_params for stage, result in found.items()}
    assert params["train_vae@tuned"] == {"lr": 1, "activation": "relu"}
    assert params["train_vae@images"] == {"lr": 3, "activation": "relu"}
    assert params["train_classifier@images"] == {"lr": 4, "figures.dpi": 100}
    assert params["train_classifier@images_more"] == {"lr": 5, "figures.dpi": 100}
    assert params["optimize_quadratic@steep"] == {"lr": 6}


def test_each_pattern_of_metrics_and_each_best_column_is_in_a_committed_result() -> None:
    settings = project(ROOT)
    folders = [ROOT / "reports" / name for name in RUN_NAMES]
    names = [
        name
        for folder in folders
        for path in folder.glob("*.json")
        for name, _ in numbers(read_json(path), f"{path.stem}/")
    ]
    columns = {
        column
        for folder in folders
        for table in settings.curves
        if (path := folder / table).exists()
        for column in path.read_text().partition("\n")[0].split(",")
    }
    unused = [item for item in settings.metrics if not fnmatch.filter(names, item)]
    assert [item for item in unused if "validation" not in item] == []  # only with held-out images
    assert {item for item in settings.best if "validation" not in item} <= columns


def test_the_best_value_of_a_curve_is_its_maximum_or_minimum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    best = '[tool.workflow.best]\nscore = "max"\nloss = "min"\nother = "min"\n'
    Path("pyproject.toml").write_text(f'[tool.workflow]\nschema = ""\n{best}')
    rows = [
        {"epoch": 1.0, "loss": 0.25, "score": -2.0},
        {"epoch": 2.0, "loss": float("nan"), "score": -1.0},
        {"epoch": 3.0, "loss": 0.125},
    ]
    assert best_values(rows, "epoch") == {"best_epoch": 2.0, "best_score": -1.0, "best_loss": 0.125}
    assert best_values([], "epoch") == {}


def test_only_the_listed_numbers_and_those_that_decide_an_alias_are_metrics() -> None:
    models = Models(stage="", networks="", names={}, aliases={"best": "fit/test.score"})
    chosen = Settings(schema="", metrics=("fit/train.*",), models=models)
    names = ["fit/train.loss", "fit/test.score", "fit/test.loss"]
    assert list(filter(chosen.is_metric, names)) == names[:2]
    assert list(filter(Settings(schema="", models=models).is_metric, names)) == names


def test_links_lead_to_the_pages_that_the_store_has(
    mini: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mini.path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/runs.db")
    assert list(ui.links()) == []
    store = Store()
    results = {result.inputs.stage: result.inputs for result in results_of(None)}
    one = store.run(results["optimize_quadratic@steep"]).info.run_id
    quadratic = ("experiment quadratic", f"experiments/{store.experiment('quadratic')}/runs")
    assert list(ui.links()) == [quadratic]
    store.run(results["optimize_quadratic@steep_more"])
    assert [title for title, _ in ui.links()] == ["experiment quadratic", "comparison of steep, steep_more"]
    two = [store.run(results[f"train_vae@{name}"]).info.run_id for name in ("images", "tuned")]
    vae = store.experiment("vae")
    query = f"runs=%5B%22{two[0]}%22%2C%22{two[1]}%22%5D&experiments=%5B%22{vae}%22%5D"
    assert list(ui.links()) == [
        ("experiment vae", f"experiments/{vae}/runs"),
        quadratic,
        ("comparison of images, tuned", f"compare-runs?{query}"),
    ]
    store.client.delete_run(one)
    store.client.delete_experiment(vae)
    assert list(ui.links()) == [quadratic]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    with pytest.raises(UserError, match="MLflow is switched off"):
        ui.main()


def test_results_that_only_git_fetched_are_not_results_of_this_clone(
    mini: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mini.run("dvc", "exp", "run", "-n", "warmer", "-S", "vae.tuned.lr=10")
    clone = Project(tmp_path / "clone")
    mini.run("git", "clone", "-q", str(mini.path), str(clone.path))
    clone.run("git", "fetch", "-q", "origin", "refs/exps/*:refs/exps/*")
    monkeypatch.chdir(clone.path)
    # all outputs of a quadratic are in git
    assert {result.inputs.family for result in all_results()} == {"quadratic"}
    every = {result.inputs.stage for result in all_results(committed=True)}
    assert len(every) == 7
    assert len(all_results(committed=True)) == 8
    # computed or pulled outputs are results of this clone
    clone.run("dvc", "repro", "train_vae@images")
    monkeypatch.chdir(mini.path)
    found = all_results()
    assert [result.experiments for result in found if result.inputs.params.get("vae.tuned.lr") == 10] == [
        ["warmer"]
    ]
    monkeypatch.chdir(clone.path)
    mine = {result.inputs.stage for result in all_results() if result.inputs.family != "quadratic"}
    assert mine == {"train_vae@images"}
