"""The committed results, and reports rendered from them: no stage but render_report runs."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages import render_report
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
    """`render_variants(names, dataset)`: a folder with the report of these variants.

    A variant that is not committed has the results of `tuned`; `dataset` replaces the name of the data.
    """
    made: dict[Any, Path] = {}

    def render(names: Sequence[str] = VARIANTS, dataset: str | None = None) -> Path:
        key = (tuple(names), dataset)
        if key not in made:
            folder = _prepare(committed, tmp_path_factory.mktemp("report") / "project", names, dataset)
            with contextlib.chdir(folder):
                render_report.main()
            made[key] = folder
        return made[key]

    return render


def _prepare(committed: Path, folder: Path, names: Sequence[str], dataset: str | None) -> Path:
    shutil.copytree(committed, folder)
    yaml = YAML()
    params = yaml.load(folder / "params.yaml")
    params["vae"] = {name: params["vae"].get(name, params["vae"]["tuned"]) for name in names}
    yaml.dump(params, folder / "params.yaml")
    for parent in ("reports/vae", "reports/figures/vae"):
        for name in names:
            if not (folder / parent / name).exists():
                shutil.copytree(folder / parent / "tuned", folder / parent / name)
    path = folder / "reports/vae_differences.json"
    found = json.loads(path.read_text())["tuned"] | {"base": names[0]}
    path.write_text(json.dumps(dict.fromkeys(names[1:], found)))
    for path in (folder / "reports/vae").glob("*/*.json") if dataset else ():
        path.write_text(json.dumps(json.loads(path.read_text()) | {"dataset": dataset}))
    return folder
