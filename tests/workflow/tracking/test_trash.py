"""Runs and experiments that a person has deleted, and curves of which a run has a part."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow.cli import cli
from mlflow.entities import Metric, ViewType

from tests.support.stores import runs_by_stage
from workflow.tracking.live import LiveRun, journal_folder
from workflow.tracking.results import StageResult
from workflow.tracking.store import Store
from workflow.tracking.sync import _complete, complete, sync_run
from workflow.tracking.tracker import Tracker


def test_a_curve_is_completed_from_where_it_ends(lines: list[StageResult]) -> None:
    curve = [(1, 0.5), (2, 0.25), (3, 0.125)]
    parts = [curve[:1], curve, [*curve[:2], (3, 9.0)]]  # the last one is of another training
    store = Store()
    for result, part in zip(lines, parts, strict=True):
        run_id = store.run(result.inputs).info.run_id
        for step, value in part:
            store.client.log_batch(run_id, [Metric("by_epoch/loss", value, 1000 + step, step)])
        assert sync_run(store, result)
        history = store.client.get_metric_history(run_id, "by_epoch/loss")
        assert [(item.step, item.value) for item in history if item.timestamp < 2000] == part
        new = [(item.step, item.value) for item in history if item.timestamp > 2000]
        assert new == (curve if part[-1][1] == 9.0 else curve[len(part) :])
        other = store.client.get_metric_history(run_id, "by_epoch/score")
        assert [(item.step, item.value) for item in other] == [(1, 1), (2, 2), (3, 3)]


def test_a_deleted_run_stays_deleted_until_it_is_restored(
    pipeline: Path, lines: list[StageResult], capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"sqlite:///{pipeline}/mlflow.db"
    command = CliRunner(env={"MLFLOW_TRACKING_URI": uri})
    store = Store()
    assert _complete(store, lines)
    a, b = (runs_by_stage(uri)[f"train_line@{name}"].info.run_id for name in "ab")
    store.client.delete_run(a)
    store.client.delete_run(b)
    capsys.readouterr()
    assert _complete(store, lines)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "in the trash" in line]
    assert f"train_line@a ({a}), train_line@b ({b}); `mlflow runs restore --run-id …` brings one back" in line
    assert runs_by_stage(uri).keys() == {"train_line@c"}
    # the same training, repeated on purpose
    folder = journal_folder(pipeline)
    LiveRun(lines[0].inputs, {}).finish()
    Tracker(folder).upload()
    (fault,) = [path.read_text() for path in folder.glob("*.fault")]
    restore = ["runs", "restore", "--run-id", a]
    assert f"train_line@a: its run is in the trash; `mlflow {' '.join(restore)}` brings it back" in fault
    assert runs_by_stage(uri).keys() == {"train_line@c"}
    assert command.invoke(cli, restore).exit_code == 0
    # nothing is left of the other one
    assert command.invoke(cli, ["gc", "--backend-store-uri", uri]).exit_code == 0
    assert _complete(store, lines)
    again = runs_by_stage(uri, ViewType.ALL)
    assert again.keys() == {"train_line@a", "train_line@b", "train_line@c"}
    assert again["train_line@a"].info.run_id == a
    assert again["train_line@b"].info.run_id != b


def test_an_experiment_in_the_trash_is_left_out(pipeline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store()
    net = store.experiment("net")
    store.client.delete_experiment(net)
    assert complete()
    printed = capsys.readouterr().err
    assert f"their experiments are in the trash: train_net@a ({net}); `mlflow experiments restore" in printed
    assert printed.count("trash") == 1
    assert runs_by_stage(f"sqlite:///{pipeline}/mlflow.db").keys() == {f"train_line@{name}" for name in "abc"}
