"""`make sweep`: its keys, its table, each key's share in the spread; failures and Ctrl-C."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pages import sweep
from pages.grid import parse, shares, summary
from pages.sweep import held_out, target
from pages.sweep import name as name_of
from tests.conftest import OFFLINE, Project, clean_environment, commit, copy_working_tree
from workflow.core.dataset import Dataset


def test_shares_in_the_spread_are_those_of_an_analysis_of_variance() -> None:
    grid = [{"lr": lr, "seed": seed, "fixed": "1"} for lr in "abc" for seed in "12"]
    # levels' means -2, 0, 2 and -1, 1: sums of squares 2·8 = 16 and 3·2 = 6
    lrs, seeds = {"a": -2.0, "b": 0.0, "c": 2.0}, {"1": -1.0, "2": 1.0}
    values = [-130 + lrs[point["lr"]] + seeds[point["seed"]] for point in grid]
    assert shares(grid, values) == pytest.approx({"lr": 16 / 22, "seed": 6 / 22, "rest": 0})
    # an interaction that is orthogonal to both adds 4·3² = 36 to the total
    crossed = {"a1": 3.0, "a2": -3.0, "c1": -3.0, "c2": 3.0}
    values = [
        value + crossed.get(point["lr"] + point["seed"], 0) for value, point in zip(values, grid, strict=True)
    ]
    assert shares(grid, values) == pytest.approx({"lr": 16 / 58, "seed": 6 / 58, "rest": 36 / 58})
    points = {str(place): point | {"data.validation": "9"} for place, point in enumerate(grid)}
    for scores, shown in (
        (dict(zip(points, values, strict=True)), True),
        (dict.fromkeys(points, 1.0), False),
    ):
        lines = summary(points, ["lr", "seed"], scores, "validation_elbo", "data.validation")
        assert any("share in the spread" in line for line in lines) == shown


def test_keys_have_values_that_may_be_lists() -> None:
    assert parse("vae.a.lr=0.1,0.2,0.1 vae.a.architecture.hidden=[3,2],[4,3]") == {
        "vae.a.lr": ["0.1", "0.2"],
        "vae.a.architecture.hidden": ["[3,2]", "[4,3]"],
    }


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("", "several values to keys of one section"),
        ("vae.tuned.lr", "vae.tuned.lr is not KEY=VALUE,VALUE"),
        ("vae.tuned.lr=0.1,", "is not KEY=VALUE,VALUE"),
        ("vae.tuned.lr='0.1", "No closing quotation"),
        ("vae.tuned.lr=0.1 vae.tuned.lr=0.2", "vae.tuned.lr is given twice"),
        ("vae.tuned.lr=0.1,0.2 data.validation=0", "data.validation=0 holds out no images"),
        ("vae.tuned.lrr=0.1,0.2", "params.yaml has no vae.tuned.lrr"),
        ("vae.tuned.lr=0.1,fast", 'vae.tuned.lr: "fast" is not a number'),
        ("vae.tuned.architecture.hidden=[512,256],[512", "not keys and values of params.yaml"),
        ("vae.tuned.architecture.hidden=[512,256],[0]", "architecture.hidden.0: 0 is too small"),
        ("vae.tuned.architecture.kind=mlp,tree", 'vae.tuned.architecture.kind: "tree" is not known'),
        ("vae.tuned.hidden=[512],[256]", "params.yaml has no vae.tuned.hidden"),
        ("vae.tuned=1,2", "several values to keys of one section"),
        ("vae.tuned.lr=0.1 data.threshold.x=1", "not keys and values of params.yaml"),
        ("vae.tuned.lr=0.1,0.2 vae.notebook.lr=0.1,0.2", "several values to keys of one section"),
        ("data.threshold=0.4,0.5", "several values to keys of one section"),
        ("classifier.images.lr=0.1,0.2", "no stage writes a validation metric of classifier.images"),
    ],
)
def test_faults_in_keys_are_one_message_before_anything_runs(
    sweepable: Project, keys: str, message: str
) -> None:
    printed = sweepable.run("python", "-m", "pages.sweep", keys, status=1)
    assert printed.startswith("error: ")
    assert message in printed
    assert "experiments of" not in printed
    assert sweepable.run("git", "for-each-ref", "refs/exps") == ""


@pytest.fixture(scope="module")
def sweepable(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The working tree with data of 60 training images; no stage has run."""
    project = copy_working_tree(tmp_path_factory.mktemp("sweepable") / "project")
    ones = {split: np.ones(60, np.uint8) for split in ("train", "test")}
    data = Dataset(
        "mnist", "", ("0", "1"), (8,), {split: rows[:, None] for split, rows in ones.items()}, ones
    )
    data.save(project.path / "data/binarized.npz")
    commit(project)
    return project


def test_settings_of_an_architecture_are_swept_as_those_of_its_variant(
    sweepable: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sweepable.path)
    keys = {"vae.tuned.architecture.hidden": ["[64]", "[64,32,16]"], "vae.tuned.latent": ["2", "10"]}
    stage, path, metric = target(keys)
    assert (stage, metric) == ("evaluate_elbo@tuned", "validation_elbo")
    assert path == "reports/metrics/vae/tuned/elbo.json"
    settings = {key: values[1] for key, values in keys.items()}
    assert re.fullmatch(r"hidden-64-32-16-latent-10-[0-9a-f]{6}", name_of(settings, list(keys)))


def test_a_sixth_of_few_images_is_held_out(sweepable: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sweepable.path)
    assert held_out() == 10
    sweepable.edit("validation: 0 ", "validation: 7 ")
    assert held_out() == 7
    sweepable.edit("validation: 7 ", "validation: 0 ")


def test_a_sweep_first_names_the_files_that_its_experiments_will_lack(
    sweepable: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(sweepable.path)
    monkeypatch.setattr(sweep, "compute", lambda *_: "")
    monkeypatch.setattr(sweep, "score", lambda *_: -1.0)
    monkeypatch.setattr(sys, "argv", ["sweep", "vae.tuned.lr=0.1,0.2"])
    new = [
        Path("elbo/models/mine.py"),
        Path("pages/templates/mine.md.j2"),
        Path("notes.txt"),
        Path("elbo/.x.tmp"),
    ]
    for path in new:
        path.touch()
    sweep.main()
    printed = capsys.readouterr().err
    assert printed.startswith(
        "WARNING: git does not track elbo/models/mine.py, pages/templates/mine.md.j2, and DVC's queued and "
        "temporary experiments run without: `git add elbo/models/mine.py pages/templates/mine.md.j2`\n"
    )
    for path in new:
        path.unlink()
    sweep.main()
    assert "WARNING" not in capsys.readouterr().err


@pytest.mark.slow
def test_a_sweep_ends_with_a_table_by_the_held_out_images(project: Project) -> None:
    def sweep(keys: str, status: int = 0) -> str:
        return project.run("make", "-o", ".venv/installed", "sweep", f"KEYS={keys}", status=status)

    printed = sweep("vae.tuned.lr=0.001,1e30 vae.tuned.epochs=1", status=2)
    assert "1 of 2 experiments failed:" in printed
    assert "training diverged; lower vae.tuned.lr" in printed
    assert "1 of 2 are missing" in printed
    keys = "vae.tuned.lr=0.001,0.0001 vae.tuned.epochs=1"
    first = sweep(keys)
    names = re.findall(r"^\[\d of 2\] (\S+): validation_elbo", first, re.M)
    scores = {}
    for name in names:
        found = json.loads(project.run("git", "show", f"{ref(project, name)}:reports/vae/tuned/elbo.json"))
        assert found["validation"]["images"] == 239
        assert f"{found['test']['elbo']:.1f}" not in first, "test metrics must not choose"
        scores[name] = found["validation"]["elbo"]
    best, worst = sorted(names, key=lambda name: -scores[name])
    assert re.search(rf"^{best} .* {scores[best]:.4f}\n{worst} .* {scores[worst]:.4f}$", first, re.M)
    assert "best: vae.tuned.lr=0.001\n" in first
    assert f"`dvc exp apply {best}`" in first
    assert re.search(r"^  vae.tuned.lr +100.0%\n  rest +0.0%$", first, re.M)
    before = project.run("git", "for-each-ref", "refs/exps")
    assert sweep(keys).partition("\n\n")[2] == first.partition("\n\n")[2]
    assert project.run("git", "for-each-ref", "refs/exps") == before
    assert project.run("git", "status", "--short") == ""


@pytest.mark.slow
def test_an_interrupted_sweep_shows_what_is_done(project: Project) -> None:
    command = [sys.executable, "-m", "pages.sweep", "vae.tuned.lr=0.001,0.002 vae.tuned.epochs=1"]
    with subprocess.Popen(
        command, cwd=project.path, env=clean_environment() | OFFLINE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    ) as sweep:  # fmt: skip
        assert sweep.stdout
        lines = iter(sweep.stdout.readline, "")
        next(line for line in lines if line.startswith("[1 of 2]"))
        time.sleep(10)
        sweep.send_signal(signal.SIGINT)
        printed = "".join(lines)
    assert sweep.returncode == 130
    assert "best: vae.tuned.lr=0.001\n" in printed
    assert "1 of 2 are missing" in printed
    assert "interrupted; " in printed
    assert "Traceback" not in printed


def ref(project: Project, name: str) -> str:
    """The commit of an experiment."""
    return project.run("git", "for-each-ref", "--format=%(objectname)", f"refs/exps/**/{name}").strip()
