"""The recipes of docs/extend.md, carried out as they stand there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import NO_TRACKING, Project, commit, copy_working_tree
from tests.support.pictures import write_digits
from tests.support.recipes import carry_out, sections, variants
from workflow.reproduce.check import differences
from workflow.reproduce.quick import shrink

HOMEWORK = "Drop the homework"
MODEL, ACTIVATION, ARCHITECTURE = "Another model", "Another activation", "Another architecture"
PICTURES = "A folder of pictures as data"
OF_A_VARIANT = (
    "train_vae", "evaluate_elbo", "evaluate_likelihood", "critique", "analyse_latents", "render_vae",
)  # fmt: skip
OF_ALL = {"check_params", "evaluate_differences", "render_comparison", "render_report"}
EPOCH = """
import numpy as np
from elbo.models.vae import VAE
from elbo.optimization import Optimizer
from elbo.training import epochs
from stages.schema import Params
from stages.train_vae import objective_of
from workflow.core.dataset import Dataset
from workflow.core.files import read_yaml

bits = np.random.default_rng(0).integers(0, 256, (64, 18), dtype=np.uint8)
data = Dataset("own", "", (), (12, 12), {"train": bits, "test": bits[:16]}, {})
for name, settings in Params.model_validate(read_yaml()).vae.items():
    objective = objective_of(name, settings, data)
    optimizer = Optimizer(objective.model, settings, objective.size)
    splits = next(epochs(objective, settings, optimizer)).splits
    model = VAE.from_weights(objective.model.state_dict(), objective.model.about)
    assert model.design == objective.model.design
    print(name, splits["test"]["elbo"])
"""


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The working tree; the test works in it."""
    project = copy_working_tree(tmp_path / "project")
    commit(project)
    monkeypatch.chdir(project.path)
    return project


def test_the_page_has_these_recipes() -> None:
    assert list(sections()) == [MODEL, ACTIVATION, ARCHITECTURE, PICTURES, HOMEWORK]


def test_a_new_variant_adds_its_stages_and_changes_no_other_training(copy: Project) -> None:
    before = set(differences())
    for recipe in (MODEL, ARCHITECTURE):
        carry_out(copy, recipe)
    added = set(differences()) - before
    names = variants().keys() - {"leaky"}
    assert len(names) > 7
    new = {f"{stage}@{name}: is not in dvc.lock" for stage in OF_A_VARIANT for name in names}
    assert new <= added
    assert {line.partition(":")[0] for line in added - new} <= OF_ALL
    copy.run("python", "-m", "workflow", "check_params")


def test_every_model_of_the_page_trains_and_is_built_again_from_its_weights(copy: Project) -> None:
    for recipe in (MODEL, ACTIVATION, ARCHITECTURE):
        carry_out(copy, recipe)
    printed = dict(line.split() for line in copy.run("python", "-c", EPOCH).splitlines())
    assert printed.keys() == {"notebook", "tuned", *variants()}
    assert all(-200 < float(elbo) < 0 for elbo in printed.values())


def test_without_the_homework_the_code_and_the_settings_are_whole(copy: Project) -> None:
    carry_out(copy, HOMEWORK)
    for file in ("params.yaml", "dvc.yaml", "stages/small.yaml", "stages/schema.py"):
        assert not re.search(r"(?i)quadratic|annuli", (copy.path / file).read_text()), file
    shrink(copy.path / "params.yaml", smallest=True)
    copy.run("python", "-m", "workflow", "check_params")
    assert "up to date" in copy.run("python", "-m", "workflow.reproduce.deps")
    rooms = ("elbo", "pages", "plots", "sources", "stages")
    files = [file for room in rooms for file in (copy.path / room).rglob("*.py")]
    modules = {".".join(file.relative_to(copy.path).with_suffix("").parts) for file in files}
    code = f"import importlib\nfor name in {sorted(modules)}:\n    importlib.import_module(name)"
    copy.run("python", "-c", code)
    names = copy.run("dvc", "stage", "list", "--all", "--name-only").split()
    assert {name.partition("@")[2] for name in names} == {"", "images", "notebook"}


def remove_reports(copy: Project) -> None:
    """Also of the members that the small settings leave out, and what dvc.lock says of them."""
    (copy.path / "dvc.lock").unlink(missing_ok=True)
    for path in (copy.path / "reports").rglob("*"):
        if path.is_file():
            path.unlink()


@pytest.mark.slow
def test_all_recipes_together_run(copy: Project) -> None:
    for recipe in (MODEL, ACTIVATION, ARCHITECTURE, PICTURES):
        carry_out(copy, recipe)
    write_digits(copy.path / "data/own", 40)
    shrink(copy.path / "params.yaml", smallest=True)
    copy.edit("dataset: uci-digits", "dataset: own")
    copy.edit(r"epochs: \d+", "epochs: 1", count=99)
    remove_reports(copy)
    copy.repro(MLFLOW_TRACKING_URI=NO_TRACKING)
    commit(copy)
    assert "up to date" in copy.run("python", "-m", "workflow.reproduce.check")
    printed = copy.run("python", "-m", "pages.summary")
    report = (copy.path / "reports/README.md").read_text().replace("\\_", "_")
    for name in variants():
        found = json.loads((copy.path / f"reports/vae/{name}/likelihood.json").read_text())
        assert (found.get("method") == "importance sampling") == (name == "latent_10")
        assert len(pd.read_csv(copy.path / f"reports/vae/{name}/training.csv")) == 1
        assert list((copy.path / f"reports/figures/vae/{name}").glob("*.png"))
        assert re.search(rf"^{name}\b", printed, re.M)
        assert f"*{name}*" in report
    assert "own" in report


@pytest.mark.slow
def test_without_the_homework_the_pipeline_runs_and_the_tests_of_the_science_pass(copy: Project) -> None:
    carry_out(copy, HOMEWORK)
    shrink(copy.path / "params.yaml", smallest=True)
    remove_reports(copy)
    copy.repro(MLFLOW_TRACKING_URI=NO_TRACKING)
    commit(copy)
    assert "up to date" in copy.run("python", "-m", "workflow.reproduce.check")
    assert re.search(r"^classifiers .*: images", copy.run("python", "-m", "pages.summary"), re.M)
    report = (copy.path / "reports/README.md").read_text()
    assert not re.search(r"(?i)quadratic|annuli|problem [12]", report.partition("## How to reproduce")[0])
    assert "The judge" in report
    # the small settings here lack what those tests edit that run a pipeline of their own
    sources = [f"tests/sources/test_{name}.py" for name in ("binarize", "own", "pictures")]
    copy.run("python", "-m", "pytest", "-q", "tests/elbo", "tests/plots", *sources)
