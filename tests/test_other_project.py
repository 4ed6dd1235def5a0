"""The workflow with another project's stages, schema and params: it fits the slope of a line."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.conftest import Project, commit
from tests.support.processes import kill_process_tree, start_process, wait_for_checkpoint
from tests.support.repository import ROOT
from tests.support.stores import all_runs, journals_uploaded, store_uri, wait_for

FILES = {
    "pyproject.toml": """
[tool.workflow]
schema = "stages.schema:Params"
runs = ["train_line"]
curves = { "training.csv" = "epoch" }
""",
    "params.yaml": """
compute: {threads: 1, portable: true}
line:
  a: {slope: 2.0, epochs: 5, lr: 0.1}
""",
    "stages/__init__.py": "",
    "stages/schema.py": """
from typing import Annotated

from pydantic import Field

from workflow.core.params import Section


class Compute(Section):
    threads: int
    portable: bool


class Line(Section):
    slope: float
    epochs: Annotated[int, Field(ge=1)]
    lr: Annotated[float, Field(gt=0)]


class Params(Section):
    compute: Compute
    line: dict[str, Line]
""",
    "stages/train_line.py": """
import time
from dataclasses import dataclass

import pandas as pd
import torch

from stages.schema import Params
from workflow.core.files import write_json
from workflow.core.params import load
from workflow.core.tables import write_csv
from workflow.core.weights import write_weights
from workflow.training import Training


@dataclass
class Epoch:
    row: dict


class Line:
    def __init__(self):
        self.slope, self.done = torch.zeros(1), 0

    def state(self):
        return {"slope": self.slope, "done": torch.tensor(self.done)}

    def load(self, state):
        self.slope, self.done = state["slope"].clone(), int(state["done"])

    def epochs(self, settings):
        for epoch in range(self.done + 1, settings.epochs + 1):
            self.slope += settings.lr * (settings.slope - self.slope)
            self.done = epoch
            time.sleep(0.02)
            yield Epoch({"epoch": epoch, "error": float((settings.slope - self.slope).abs())})


def main(name):
    _, settings = load(Params, "compute", f"line.{name}")
    line = Line()
    with Training(f"train_line@{name}", {}, line) as run:
        if run.shared:
            return
        for _ in run(line.epochs(settings), settings.epochs):
            pass
        write_csv(f"reports/line/{name}/training.csv", pd.DataFrame(run.rows))
        write_json(f"reports/line/{name}/metrics.json", {"slope": float(line.slope)})
        write_weights(f"models/line/{name}.safetensors", {"slope": line.slope}, {})
""",
    "stages/record_packages.py": """
from workflow.core import packages


def main():
    packages.record()
""",
    "constraints.txt": f"pandas=={version('pandas')}\n",
    "dvc.yaml": """
stages:
  record_packages:
    cmd: python -m workflow record_packages
    deps:
      - constraints.txt
    outs:
      - data/packages
  train_line:
    matrix: {name: "${line}"}
    cmd: python -m workflow train_line ${item.name}
    deps:
      - pyproject.toml
    params: [compute, "line.${item.name}"]
    outs:
      - models/line/${item.name}.safetensors
    metrics:
      - reports/line/${item.name}/metrics.json: {cache: false}
    plots:
      - reports/line/${item.name}/training.csv: {cache: false}
""",
    ".gitignore": "/mlflow.db*\n/mlartifacts/\n__pycache__/\n/.work/\n/models/\n/data/\n",
    ".dvcignore": "__pycache__\n",
}


@pytest.fixture
def line(tmp_path: Path) -> Project:
    project = Project(tmp_path / "line")
    for name, content in FILES.items():
        path = project.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content.lstrip("\n"))
    shutil.copytree(
        ROOT / "workflow", project.path / "workflow", ignore=shutil.ignore_patterns("__pycache__")
    )
    project.run("git", "init", "-q", "-b", "main")
    project.run("git", "config", "user.email", "tests@example.org")
    project.run("git", "config", "user.name", "Tests")
    project.run("dvc", "init", "-q")
    project.run("python", "-m", "workflow.reproduce.deps")
    return project


def test_the_workflow_runs_another_project(
    line: Project,
) -> None:
    assert "- stages/train_line.py\n" in (line.path / "dvc.yaml").read_text()
    line.edit("epochs: 5", "epochs: 0")
    assert "line.a.epochs: 0 is too small; write 1 or more" in line.run(
        "python", "-m", "workflow.doctor", "--first", status=1
    )
    line.edit("epochs: 0", "epochs: 400")
    process = start_process(line, "dvc", "repro")
    wait_for_checkpoint(line)
    kill_process_tree(process)
    assert "train_line@a: continues after epoch" in line.run("dvc", "repro")
    commit(line)
    wait_for(lambda: journals_uploaded(line))
    line.run("python", "-m", "workflow.tracking")
    ((_, run),) = all_runs(store_uri(line))
    assert run.info.status == "FINISHED"
    assert run.data.metrics["metrics/slope"] == 2.0
    history = MlflowClient(store_uri(line)).get_metric_history(run.info.run_id, "by_epoch/error")
    assert len(history) == 400
    line.run("python", "-m", "workflow.reproduce.check")
    assert "verify: passed" in line.run("python", "-m", "workflow.reproduce.verify")
    line.run("python", "-m", "workflow.doctor")
