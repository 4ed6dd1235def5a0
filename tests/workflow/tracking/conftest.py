"""A small pipeline whose results are runs, with DVC's own commands and without this project's stages."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.conftest import Project, small_pipeline
from workflow.tracking import live
from workflow.tracking.results import StageResult, results_of

# three runs without a model, and one with a model
FILES = {
    "dvc.yaml": """
vars: [params.yaml]
stages:
  train_line:
    matrix: {name: "${line}"}
    cmd: python write.py line ${item.name}
    params: ["line.${item.name}"]
    outs:
      - models/line/${item.name}.safetensors
      - reports/line/${item.name}: {cache: false}
  train_net:
    matrix: {name: "${net}"}
    cmd: python write.py net ${item.name}
    params: ["net.${item.name}"]
    outs:
      - models/net/${item.name}.safetensors
      - reports/net/${item.name}: {cache: false}
""",
    "params.yaml": "line:\n  a: {lr: 1}\n  b: {lr: 2}\n  c: {lr: 3}\nnet:\n  a: {lr: 4}\n",
    "pyproject.toml": """
[tool.workflow]
schema = ""
runs = ["train_line", "train_net"]
curves = { "training.csv" = "epoch" }
[tool.workflow.models]
stage = "train_net"
networks = "write:networks"
names = { net = "A net." }
aliases = { best-on-test = "metrics/loss" }
""",
    "write.py": """
import sys
from pathlib import Path

def networks(tensors, settings):
    import torch
    return {"net": (torch.nn.Linear(2, 1), torch.zeros(4, 2), {"values": [], "advice": ""})}

if __name__ == "__main__":
    import json
    model, reports = Path("models", *sys.argv[1:]).with_suffix(".safetensors"), Path("reports", *sys.argv[1:])
    model.parent.mkdir(parents=True, exist_ok=True)
    reports.mkdir(parents=True, exist_ok=True)
    about = {"__metadata__": {"about": "{}"}, "w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    header = json.dumps(about).encode()
    model.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    (reports / "metrics.json").write_text('{"dataset": "points", "dataset_digest": "1", "loss": 0.25}')
    (reports / "training.csv").write_text("epoch,loss,score\\n1,0.5,1\\n2,0.25,2\\n3,0.125,3\\n")
""",
}


@pytest.fixture(scope="session")
def finished_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A small pipeline after `dvc repro`, with an empty store."""
    project = small_pipeline(tmp_path_factory.mktemp("answers") / "project", FILES)
    MlflowClient(f"sqlite:///{project.path}/mlflow.db").search_experiments()  # its tables take seconds
    return project


@pytest.fixture
def pipeline(finished_pipeline: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a copy of the pipeline, which is the working directory."""
    folder = finished_pipeline.copy(tmp_path / "project").path
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    for name in ("DVC_ROOT", "DVC_EXP_NAME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(live, "start_tracker", lambda _root: None)
    return folder


@pytest.fixture
def lines(pipeline: Path) -> list[StageResult]:
    """The results without a model, which is slow to export."""
    assert pipeline
    return [result for result in results_of(None) if result.inputs.family == "line"]
