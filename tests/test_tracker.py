"""What a training writes to its journal comes to MLflow: as it grows, whole, once, and with its own times."""

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

from pipeline import tracker as module
from pipeline import tracking
from pipeline.identity import Inputs
from pipeline.store import Store
from pipeline.tracker import Tracker, drain
from pipeline.tracking import Live, journals
from tests.closure import ROOT
from tests.conftest import clean_environment
from tests.stores import wait_for


def of(seed: int = 1) -> Inputs:
    params = {"vae.tuned.seed": seed, "vae.tuned.hidden": [8, 4]}
    return Inputs("train_vae@tuned", {"data/binarized.npz": "0" * 32}, params, {}, ("models/vae",))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The journals of a project of which no tracker is at work."""
    for name in ("DVC_ROOT", "DVC_EXP_NAME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tracking, "start_tracker", lambda _root: None)
    return journals(tmp_path)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The time that journals have, in seconds, to be set."""

    class Clock:
        now = 1_000_000.0

        def time(self) -> float:
            return self.now

        def time_ns(self) -> int:
            return int(self.now * 1e9)

    clock = Clock()
    monkeypatch.setattr(tracking, "time", clock)
    return clock


def the_run(store: Store) -> Run:
    (run,) = store.client.search_runs([store.experiment("vae")])
    return run


def steps(store: Store) -> list[int]:
    return [
        item.step for item in store.client.get_metric_history(the_run(store).info.run_id, "by_epoch/loss")
    ]


def test_a_run_grows_with_its_training_and_ends_as_it_does(folder: Path, clock: Any) -> None:
    live = Live(of(), {"dataset": "mnist"})
    tracker = Tracker(folder, store := Store())
    for epoch in (1, 2):
        clock.now += 10
        live.log({"epoch": epoch, "loss": 1 / epoch})
        tracker.turn()
        assert steps(store) == list(range(1, epoch + 1))
        assert (the_run(store).info.status, "host" in the_run(store).data.tags) == ("RUNNING", True)
    # another tracker takes over in the middle, and doubles nothing
    tracker = Tracker(folder, store)
    clock.now += 10
    live.finish()
    tracker.turn()
    run = the_run(store)
    assert steps(store) == [1, 2]
    assert (run.info.status, "host" in run.data.tags, run.data.tags["dataset"]) == (
        "FINISHED",
        False,
        "mnist",
    )
    assert (run.info.start_time, run.info.end_time) == (1_000_000_000, 1_000_030_000)
    assert not list(folder.glob("*.jsonl"))


def killed(live: Live, clock: Any) -> None:
    """As the system ends a process that is killed."""
    assert live.file is not None
    os.utime(live.path, (clock.now, clock.now))
    live.file.close()


def test_a_killed_training_is_closed_and_goes_on_for_as_long_as_it_took(folder: Path, clock: Any) -> None:
    store = Store()
    live = Live(of(), {})
    clock.now += 20
    killed(live, clock)
    Tracker(folder, store).turn()
    assert the_run(store).info.status == "KILLED"
    clock.now += 5000  # the night
    live = Live(of(), {})
    clock.now += 30
    live.finish()
    Tracker(folder, store).turn()
    info = the_run(store).info
    assert (info.status, info.end_time - info.start_time) == ("FINISHED", 50_000)
    clock.now += 5000  # and by force once more
    live = Live(of(), {})
    clock.now += 35
    live.finish()
    Tracker(folder, store).turn()
    assert the_run(store).info.end_time == info.end_time


def test_a_run_made_from_files_takes_no_time_and_its_training_what_it_takes(folder: Path, clock: Any) -> None:
    store = Store()
    run_id = store.run_id(of())
    store.end(run_id, "FINISHED")
    info = the_run(store).info
    assert info.end_time == info.start_time
    live = Live(of(), {})
    clock.now += 180
    live.finish()
    Tracker(folder, store).turn()
    info = the_run(store).info
    assert info.end_time - info.start_time == 180_000


def test_what_fails_is_said_once_by_the_stage_or_after_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Down:
        def __init__(self) -> None:
            raise ConnectionError("the server is down")

    monkeypatch.setattr(module, "Store", Down)
    expected = "MLflow is not tracking train_vae@tuned: ConnectionError: the server is down"
    tracker, live = Tracker(folder), Live(of(), {})
    tracker.turn()
    Live(of(2), {}).finish()
    assert expected not in capsys.readouterr().err, "it is the first stage's to say"
    live.finish()
    assert capsys.readouterr().err.count(expected) == 1
    tracker.turn()
    tracking.say_faults(folder)
    tracking.say_faults(folder)
    assert capsys.readouterr().err.count(expected) == 1
    assert not list(folder.glob("*.*"))


def test_a_store_that_fails_is_asked_once_a_training(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    class Down:
        def __init__(self) -> None:
            asked.append(self)
            raise ConnectionError("the server is down")

    monkeypatch.setattr(module, "Store", Down)
    monkeypatch.setattr(module, "POLL", 0.05)
    live = Live(of(), {})
    serving = threading.Thread(target=module.serve, args=(tmp_path,), daemon=True)
    serving.start()
    wait_for(lambda: list(folder.glob("*.fault")))
    live.log({"epoch": 1, "loss": 1.0})
    threading.Event().wait(0.5)  # it goes on looking
    live.finish()
    serving.join(module.IDLE / 2)  # and is soon gone
    assert not serving.is_alive()
    tracking.say_faults(folder)
    assert (len(asked), capsys.readouterr().err.count("MLflow is not tracking train_vae@tuned")) == (1, 1)


def test_make_track_brings_what_a_tracker_that_was_killed_had_not(folder: Path, tmp_path: Path) -> None:
    ended, going_on = Live(of(), {}), Live(of(2), {})
    ended.finish()
    store = Store()
    drain(tmp_path, store)
    assert the_run(store).info.status == "FINISHED"
    assert list(folder.glob("*.jsonl")) == [going_on.path]


def test_a_disk_that_is_full_is_said_and_training_goes_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("")
    with tracking.live(of(), {}) as live:
        live.log({"epoch": 1, "loss": 1.0})
    assert capsys.readouterr().err.count("MLflow is not tracking train_vae@tuned: FileExistsError") == 1


STAGE = """
import os, sys, time
from pipeline.identity import Inputs
from pipeline.tracking import live
os.environ["DVC_ROOT"] = sys.argv[1]
of = Inputs("train_vae@tuned", {}, {"vae.tuned.seed": int(sys.argv[2])}, {}, ())
with live(of, {}) as tracker:
    tracker.log({"epoch": 1, "loss": 1.0})
    print("logged", flush=True)
    time.sleep(float(sys.argv[3]))
"""


def trackers(root: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if process.info["status"] != psutil.STATUS_ZOMBIE and (process.info["cmdline"] or [])[1:] == [
            "-m", "pipeline.tracker", str(root),
        ]:  # fmt: skip
            found.append(process)
    return found


def test_one_process_serves_all_trainings_and_leaves_with_the_folder(tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(ROOT / "pipeline", root / "pipeline")

    def stage(seed: int, seconds: float) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", STAGE, str(root), str(seed), str(seconds)], cwd=root, text=True,
            env=clean_environment(), stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "logged\n"
        return process

    # whoever reads the stage's pipe is not kept by the tracker
    assert stage(1, 0).communicate(timeout=60)[0] == ""
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
        process.communicate(timeout=60)
    wait_for(lambda: statuses() == ["FINISHED", "KILLED", "KILLED"])
    assert trackers(root) == [tracker]
    shutil.rmtree(root)
    wait_for(lambda: not trackers(root))
