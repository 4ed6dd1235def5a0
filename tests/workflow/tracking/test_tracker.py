"""The tracker uploads the journal of a training: live, completely, once, and with its times."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow.entities import Run

from tests.conftest import clean_environment
from tests.support.repository import ROOT
from tests.support.stores import wait_for
from workflow.runs.identity import Inputs
from workflow.tracking import live
from workflow.tracking import tracker as module
from workflow.tracking.live import LiveRun, journal_folder, report_faults
from workflow.tracking.store import Store
from workflow.tracking.tracker import Tracker, drain


def inputs(seed: int = 1) -> Inputs:
    params = {"vae.tuned.seed": seed, "vae.tuned.architecture.hidden": [8, 4]}
    return Inputs("train_vae@tuned", {"data/binarized.npz": "0" * 32}, params, {}, ("models/vae",))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The journal folder of a project without a running tracker."""
    for name in ("DVC_ROOT", "DVC_EXP_NAME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(live, "start_tracker", lambda _root: None)
    return journal_folder(tmp_path)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The clock of the journals, in seconds; a test can set it."""

    class Clock:
        now = 1_000_000.0

        def time(self) -> float:
            return self.now

        def time_ns(self) -> int:
            return int(self.now * 1e9)

    clock = Clock()
    monkeypatch.setattr(live, "time", clock)
    return clock


def the_run(store: Store) -> Run:
    (run,) = store.client.search_runs([store.experiment("vae")])
    return run


def steps(store: Store) -> list[int]:
    return [
        item.step for item in store.client.get_metric_history(the_run(store).info.run_id, "by_epoch/loss")
    ]


def test_a_run_follows_its_training(folder: Path, clock: Any) -> None:
    live = LiveRun(inputs(), {"dataset": "mnist"})
    tracker = Tracker(folder, store := Store())
    for epoch in (1, 2):
        clock.now += 10
        live.log({"epoch": epoch, "loss": 1 / epoch})
        tracker.upload()
        assert steps(store) == list(range(1, epoch + 1))
        assert (the_run(store).info.status, "host" in the_run(store).data.tags) == ("RUNNING", True)
    # another tracker takes over during the training, and uploads nothing twice
    tracker = Tracker(folder, store)
    clock.now += 10
    live.finish()
    tracker.upload()
    run = the_run(store)
    assert steps(store) == [1, 2]
    assert (run.info.status, "host" in run.data.tags, run.data.tags["dataset"]) == (
        "FINISHED",
        False,
        "mnist",
    )
    assert (run.info.start_time, run.info.end_time) == (1_000_000_000, 1_000_030_000)
    assert not list(folder.glob("*.jsonl"))


def kill(live: LiveRun, clock: Any) -> None:
    """Leaves the journal as a killed process does."""
    assert live.file is not None
    os.utime(live.path, (clock.now, clock.now))
    live.file.close()


def test_the_duration_of_a_resumed_run_excludes_the_pause(folder: Path, clock: Any) -> None:
    store = Store()
    live = LiveRun(inputs(), {})
    clock.now += 20
    kill(live, clock)
    Tracker(folder, store).upload()
    assert the_run(store).info.status == "KILLED"
    clock.now += 5000  # a pause
    live = LiveRun(inputs(), {})
    clock.now += 30
    live.finish()
    Tracker(folder, store).upload()
    info = the_run(store).info
    assert (info.status, info.end_time - info.start_time) == ("FINISHED", 50_000)
    clock.now += 5000  # a forced repetition
    live = LiveRun(inputs(), {})
    clock.now += 35
    live.finish()
    Tracker(folder, store).upload()
    assert the_run(store).info.end_time == info.end_time


def test_a_run_made_from_files_has_no_duration_until_it_is_trained(folder: Path, clock: Any) -> None:
    store = Store()
    run = store.run(inputs())
    store.end(run, "FINISHED")
    info = the_run(store).info
    assert info.end_time == info.start_time
    live = LiveRun(inputs(), {})
    clock.now += 180
    live.finish()
    Tracker(folder, store).upload()
    info = the_run(store).info
    assert info.end_time - info.start_time == 180_000


def test_a_tracking_fault_is_reported_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Down:
        def __init__(self) -> None:
            raise ConnectionError("the server is down")

    monkeypatch.setattr(module, "Store", Down)
    expected = "MLflow is not tracking train_vae@tuned: ConnectionError: the server is down"
    tracker, live = Tracker(folder), LiveRun(inputs(), {})
    tracker.upload()
    LiveRun(inputs(2), {}).finish()
    assert expected not in capsys.readouterr().err, "only the stage with the fault reports it"
    live.finish()
    assert capsys.readouterr().err.count(expected) == 1
    tracker.upload()
    report_faults(tmp_path)
    report_faults(tmp_path)
    assert capsys.readouterr().err.count(expected) == 1
    assert not list(folder.glob("*.*"))


def test_a_failing_store_is_tried_once_per_training(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    attempts = []

    class Down:
        def __init__(self) -> None:
            attempts.append(self)
            raise ConnectionError("the server is down")

    monkeypatch.setattr(module, "Store", Down)
    monkeypatch.setattr(module, "POLL_INTERVAL", 0.05)
    live = LiveRun(inputs(), {})
    thread = threading.Thread(target=module.serve, args=(tmp_path,), daemon=True)
    thread.start()
    wait_for(lambda: list(folder.glob("*.fault")))
    live.log({"epoch": 1, "loss": 1.0})
    threading.Event().wait(0.5)  # the tracker keeps polling
    live.finish()
    thread.join(module.IDLE_TIME / 2)  # the tracker ends soon
    assert not thread.is_alive()
    report_faults(tmp_path)
    assert (len(attempts), capsys.readouterr().err.count("MLflow is not tracking train_vae@tuned")) == (1, 1)


def test_make_track_uploads_what_a_killed_tracker_did_not(folder: Path) -> None:
    ended, going_on = LiveRun(inputs(), {}), LiveRun(inputs(2), {})
    ended.finish()
    store = Store()
    drain(store)
    assert the_run(store).info.status == "FINISHED"
    assert list(folder.glob("*.jsonl")) == [going_on.path]


@pytest.mark.parametrize("content", ["", '{"begin": {"of": {}}, "time": 1}\n'])
def test_a_journal_that_cannot_be_read_stops_no_other(folder: Path, content: str) -> None:
    folder.mkdir(parents=True)
    unreadable = folder / "1-digest.jsonl"  # cut off, or of an earlier version
    unreadable.write_text(content)
    LiveRun(inputs(), {}).finish()
    drain(store := Store())
    assert the_run(store).info.status == "FINISHED"
    assert not list(folder.glob("*.jsonl"))


@pytest.mark.usefixtures("folder")
def test_make_track_restarts_the_tracker_of_a_training_that_continues(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[Path] = []
    monkeypatch.setattr(module, "start_tracker", started.append)
    training = LiveRun(inputs(), {})
    drain(store := Store())
    assert started == [store.root]
    training.finish()
    drain(store)
    assert started == [store.root]


def test_training_continues_if_the_journal_cannot_be_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("")
    with live.live(inputs(), {}) as running:
        running.log({"epoch": 1, "loss": 1.0})
    assert capsys.readouterr().err.count("MLflow is not tracking train_vae@tuned: FileExistsError") == 1


STAGE = """
import os, sys, time
from workflow.runs.identity import Inputs
from workflow.tracking.live import live
os.environ["DVC_ROOT"] = sys.argv[1]
inputs = Inputs("train_vae@tuned", {}, {"vae.tuned.seed": int(sys.argv[2])}, {}, ())
with live(inputs, {}) as tracker:
    tracker.log({"epoch": 1, "loss": 1.0})
    print("logged", flush=True)
    time.sleep(float(sys.argv[3]))
"""


def trackers(root: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if process.info["status"] != psutil.STATUS_ZOMBIE and (process.info["cmdline"] or [])[1:] == [
            "-m", "workflow.tracking.tracker", str(root),
        ]:  # fmt: skip
            found.append(process)
    return found


def test_one_tracker_serves_all_trainings_and_ends_when_the_folder_is_deleted(tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(ROOT / "workflow", root / "workflow")

    def stage(seed: int, seconds: float) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", STAGE, str(root), str(seed), str(seconds)], cwd=root, text=True,
            env=clean_environment(), stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "logged\n"
        return process

    # the tracker does not keep the stage's pipe open
    assert stage(1, 0).communicate(timeout=300)[0] == ""
    long = stage(2, 1000)
    other = stage(3, 1000)

    def statuses() -> list[str]:
        import sqlite3

        try:
            with sqlite3.connect(root / "mlflow.db") as base:
                return sorted(row[0] for row in base.execute("SELECT status FROM runs"))
        except sqlite3.OperationalError:
            return []

    wait_for(lambda: statuses() == ["FINISHED", "RUNNING", "RUNNING"])
    (tracker,) = trackers(root)
    assert tracker.nice() > 0
    os.killpg(long.pid, signal.SIGKILL)
    os.killpg(other.pid, signal.SIGINT)
    for process in (long, other):
        process.communicate(timeout=300)
    wait_for(lambda: statuses() == ["FINISHED", "KILLED", "KILLED"])
    assert trackers(root) == [tracker]
    shutil.rmtree(root)
    wait_for(lambda: not trackers(root))
