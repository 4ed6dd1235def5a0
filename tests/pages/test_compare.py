"""`make compare`: what differs between experiments, and between the variants of params.yaml."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pages import compare
from tests.conftest import Project
from tests.support.repository import ROOT
from workflow.core.errors import UserError

ROWS = {
    "working tree": {"rev": "workspace", "vae.tuned.lr": 0.002, "data.x": 0.5, "tuned.elbo": -132.643675},
    "main": {"rev": "main", "vae.tuned.lr": 0.002, "data.x": 0.5, "tuned.elbo": -132.643675},
    "warm": {"rev": "a1b2c3d", "vae.tuned.lr": 0.003, "data.x": 0.5, "tuned.elbo": -133.1},
    "queued": {"rev": "b1b2c3d", "vae.tuned.lr": 0.004, "data.x": 0.5, "tuned.elbo": None},
}  # fmt: skip


def test_a_comparison_shows_only_what_differs() -> None:
    rows = compare.select(ROWS, [])
    assert list(rows) == ["main", "warm", "queued"], "the working tree equals HEAD"
    table = compare.table(rows, compare.differing(rows.values()))
    assert table.splitlines() == [
        "       vae.tuned.lr tuned.elbo",
        "main          0.002    -132.64",
        "warm          0.003    -133.10",
        "queued        0.004          –",
    ]
    assert list(compare.select(ROWS, ["warm", "main"])) == ["warm", "main"]
    with pytest.raises(UserError, match=r"no experiment cold of HEAD; there are: .*warm"):
        compare.select(ROWS, ["cold"])


def test_a_comparison_of_many_params_fits_120_columns() -> None:
    rows = {
        name: {f"vae.tuned.some_setting_{number}": f"{name}{number}" for number in range(12)}
        for name in ("first", "second")
    }
    lines = compare.table(rows, compare.differing(rows.values())).splitlines()
    assert "" in lines, "one table is too wide"
    assert max(map(len, lines)) <= 120
    assert all(any(f"setting_{number}" in line for line in lines) for number in range(12))


def test_variants_of_other_kinds_are_compared_and_their_bounds_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compare, "read_yaml", lambda: {"vae": {"tuned": {}, "conv": {}}})
    row = {
        "vae.tuned.latent": 2, "vae.tuned.architecture.kind": "mlp",
        "vae.tuned.architecture.hidden": [512, 256],
        "vae.conv.latent": 20, "vae.conv.architecture.kind": "conv", "vae.conv.architecture.hidden": [256],
        "vae.conv.architecture.channels": [32, 64], "tuned.logp": -126.8, "conv.logp": -78.5,
    }  # fmt: skip
    found = compare.variants(row)
    columns = compare.differing(found.values())
    text = compare.table(found, columns) + compare.note(found.values(), columns)
    assert text.splitlines() == [
        "      vae.latent vae.architecture.kind vae.architecture.hidden vae.architecture.channels     logp",
        "tuned          2                   mlp              [512, 256]                         –  -126.80",
        "conv          20                  conv                   [256]                  [32, 64]   -78.50",
        "logp and gap are lower bounds where latent is not 2",
    ]
    planes = {"tuned": found["tuned"]}
    assert compare.note(planes.values(), columns) == ""


def test_a_comparison_without_git_is_an_error(tmp_path: Path) -> None:
    for name in ("pages", "workflow", "params.yaml", "dvc.yaml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    (tmp_path / ".dvc").mkdir()  # as an archive of the project has it
    shutil.copy(ROOT / ".dvc/config", tmp_path / ".dvc")
    for command in (["true"], ["git", "init", "-q"]):
        Project(tmp_path).run(*command)
        printed = Project(tmp_path).run("python", "-m", "pages.compare", status=1)
        assert "no git repository with a commit here" in printed
        assert "Traceback" not in printed


def test_a_variants_params_are_not_those_of_a_section_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "read_yaml", lambda: {"data": {}, "vae": {"data": {}, "tuned": {}}})
    row = {"data.threshold": 0.5, "vae.data.lr": 0.1, "vae.tuned.lr": 0.2, "tuned.elbo": -1.0}
    assert compare.variants(row) == {"data": {"vae.lr": 0.1}, "tuned": {"vae.lr": 0.2, "elbo": -1.0}}
