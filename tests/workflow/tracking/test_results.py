"""Which run a file belongs to, and which results are of this clone, in a small DVC pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Project, commit
from workflow.tracking.results import all_results, results_of

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
    project = Project(tmp_path_factory.mktemp("results") / "mini")
    project.path.mkdir()
    for name, text in FILES.items():
        (project.path / name).write_text(text)
    project.run("git", "init", "-q", "-b", "main")
    project.run("git", "config", "user.email", "tests@example.org")
    project.run("git", "config", "user.name", "Tests")
    project.run("dvc", "init", "-q")
    project.repro()
    commit(project)
    return project


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
