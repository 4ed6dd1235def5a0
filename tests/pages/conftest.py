"""The committed results, and reports rendered from them: no stage but render_report runs."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from ruamel.yaml import YAML

from stages import render_report
from tests.support import results
from tests.support.repository import ROOT

Render = Callable[..., Path]
VARIANTS = ("notebook", "tuned")


@pytest.fixture(scope="session")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed results, with the templates of the working tree.

    From HEAD: after a run on the stand-in the working directory has other results.
    """
    folder = tmp_path_factory.mktemp("committed")
    command = ["git", "archive", "HEAD", "reports", "data", "params.yaml", "dvc.yaml"]
    archive = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x"], cwd=folder, input=archive, check=True)
    shutil.copytree(ROOT / "pages/templates", folder / "pages/templates")
    return folder


@pytest.fixture(scope="session")
def render_variants(committed: Path, tmp_path_factory: pytest.TempPathFactory) -> Render:
    """`render_variants(names, dataset, wide=…, labelled=…, homework=…, changes=…)`: a folder with a report.

    A variant that is not committed has the results of `tuned`; `dataset` replaces the name of the data.
    The variants in `wide` have 20 latent dimensions. `changes` are settings by the names of variants.
    """
    made: dict[Any, Path] = {}

    def render(names: Sequence[str] = VARIANTS, dataset: str | None = None, **about: Any) -> Path:
        key = (tuple(names), dataset, repr(about))
        if key not in made:
            folder = tmp_path_factory.mktemp("report") / "project"
            prepare(committed, folder, names, dataset, **about)
            # the schema knows the sections of this project alone
            with contextlib.chdir(folder), mock.patch.object(render_report, "load"):
                render_report.main()
            made[key] = folder
        return made[key]

    return render


def prepare(
    committed: Path,
    folder: Path,
    names: Sequence[str],
    dataset: str | None = None,
    *,
    wide: Sequence[str] = (),
    labelled: bool = True,
    homework: bool = True,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Makes a folder with the results that `render_variants` describes."""
    shutil.copytree(committed, folder)
    reports = folder / "reports"
    yaml = YAML()
    params = yaml.load(folder / "params.yaml")
    params["vae"] = {name: dict(params["vae"].get(name, params["vae"]["tuned"])) for name in names}
    for name, settings in (changes or {}).items():
        params["vae"][name] |= settings
    for name in wide:
        params["vae"][name]["latent"] = 20
    params["evaluate_likelihood"].setdefault("wide", {"refined": {"prior_share": 0.1}})
    for parent in ("reports/vae", "reports/figures/vae"):
        for name in names:
            if not (folder / parent / name).exists():
                shutil.copytree(folder / parent / "tuned", folder / parent / name)
        for path in (folder / parent).iterdir():
            if path.name not in names:
                shutil.rmtree(path)
    for name in names:
        results.complete(reports, name)
    for name in wide:
        results.widen(reports, name)
    comparison = reports / "figures/comparison"
    if dataset or "tuned" not in names or "tuned" in {*wide, *(changes or ())}:
        (comparison / "search.png").unlink()
    if len(names) == 1:
        (comparison / "gains.png").unlink()
    if {*wide} == {*names}:
        results.of_wide_alone(reports)
    if not labelled:
        results.unlabel(reports)
    if not homework:
        results.drop_homework(folder, params)
    yaml.dump(params, folder / "params.yaml")
    path = reports / "vae_differences.json"
    found = json.loads(path.read_text())["tuned"] | {"base": names[0]}
    path.write_text(json.dumps(dict.fromkeys(names[1:], found)))
    for path in (reports / "vae").glob("*/*.json") if dataset else ():
        path.write_text(json.dumps(json.loads(path.read_text()) | {"dataset": dataset}))
