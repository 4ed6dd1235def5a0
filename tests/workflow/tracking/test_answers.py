"""`make track` with old, refusing and broken servers, in few requests, and with runs in the trash."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.support.proxy import Answer, Proxy, proxy
from tests.support.stores import mlflow_server_command, run_server, runs_by_stage
from workflow.tracking.live import LiveRun, journal_folder
from workflow.tracking.results import StageResult
from workflow.tracking.store import Store
from workflow.tracking.sync import _complete, complete
from workflow.tracking.tracker import Tracker

PAGE = b"<!doctype html>\n<html lang=en>\n<title>A title</title>\n<h1>Words of the page</h1>\n"
REFUSAL = b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "it is too long"}'
# what MLflow 2.16.2 answers to a request for an endpoint that it does not have
UNKNOWN_ENDPOINT = (
    404,
    b"<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n<p>The requested "
    b"URL was not found on the server. If you entered the URL manually please check your spelling and try "
    b"again.</p>\n",
    {"Content-Type": "text/html; charset=utf-8"},
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real `mlflow server`."""
    folder = tmp_path_factory.mktemp("server")
    command, port = mlflow_server_command(folder)
    with run_server(command, port, folder) as address:
        yield address


@pytest.fixture
def team(pipeline: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:  # noqa: ARG001
    """A proxy before a server without runs, which is the store of the working directory."""
    with proxy(server) as between:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", between.address)
        yield between
    client = MlflowClient(server)
    for experiment in client.search_experiments():
        if experiment.name != "Default":  # a deleted one keeps its name
            client.rename_experiment(experiment.experiment_id, f"before {experiment.experiment_id}")
            client.delete_experiment(experiment.experiment_id)
    for model in client.search_registered_models():
        client.delete_registered_model(model.name)


def finished(uri: str) -> set[str]:
    return {stage for stage, run in runs_by_stage(uri).items() if "mirrored" in run.data.tags}


def old(request: str, _content: bytes) -> Answer | None:
    """What an older server answers."""
    return UNKNOWN_ENDPOINT if "logged-models" in request else None


STAGES = {"train_line@a", "train_line@b", "train_line@c", "train_net@a"}


def test_an_older_server_gets_all_but_models_in_one_request_for_a_complete_run(
    team: Proxy, capsys: pytest.CaptureFixture[str]
) -> None:
    team.inject = old
    assert complete()
    printed = capsys.readouterr().err
    assert printed.count("the server is too old for models and their registry") == 1
    assert "WARNING" not in printed
    assert finished(team.address) == STAGES
    team.requests.clear()
    assert complete()
    assert "4 runs are complete" in capsys.readouterr().err
    assert len(team.requests) <= len(STAGES) + 10, team.requests


@pytest.mark.slow
def test_models_come_when_the_server_is_newer_and_stay_deleted(
    team: Proxy, capsys: pytest.CaptureFixture[str]
) -> None:
    current, team.inject = team.inject, old
    assert complete()
    team.inject = current
    assert complete()
    assert "1 of 4 runs completed" in capsys.readouterr().err
    client = MlflowClient(team.address)
    run_id = runs_by_stage(team.address)["train_net@a"].info.run_id
    assert client.get_model_version_by_alias("net", "best-on-test").run_id == run_id
    team.requests.clear()
    assert complete()
    assert len(team.requests) <= len(STAGES) + 10, team.requests
    client.delete_run(run_id)  # with the only version
    assert complete()
    assert f"train_net@a ({run_id})" in capsys.readouterr().err
    client.restore_run(run_id)
    client.delete_registered_model("net")
    assert complete()
    assert not client.search_registered_models()


def test_a_run_that_is_not_complete_needs_few_requests(team: Proxy, lines: list[StageResult]) -> None:
    store, results = Store(), lines
    assert _complete(store, results)
    for run in runs_by_stage(team.target).values():
        MlflowClient(team.target).delete_tag(run.info.run_id, "mirrored")
    team.requests.clear()
    assert _complete(store, results)
    # besides one for each file
    logging = [request for request in team.requests if "artifacts" not in request]
    assert len(logging) <= 5 * len(results) + 10, logging
    assert not [request for request in logging if "get-history" in request]


def cut(_request: str, _content: bytes) -> Answer:
    raise ConnectionResetError


def hang(_request: str, _content: bytes) -> Answer:
    threading.Event().wait(3)
    raise ConnectionResetError


def always(status: int, body: bytes = PAGE, **headers: str) -> Callable[[str, bytes], Answer]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _request, _content: (status, body, {"Content-Type": "text/html"} | named)


def login(request: str, _content: bytes) -> Answer:
    return (200, PAGE, {}) if request == "GET /login" else (302, b"", {"Location": "/login"})


BROKEN = {
    "a web page": (always(200), "answers with a web page, perhaps a login; correct MLFLOW_TRACKING_URI"),
    "a redirect to a login": (login, "answers with a web page, perhaps a login"),
    "401": (always(401), "answers 401: set MLFLOW_TRACKING_USERNAME and"),
    "403": (always(403), "answers 403: you have no permission"),
    "404": (always(404), "answers 404: no MLflow server is there"),
    "429": (always(429, Retry_After="3600"), "answers 429: the server's log says why; try again later"),
    "500": (always(500), "answers 500: the server's log says why; try again later"),
    "503": (always(503, Retry_After="3600"), "answers 503: the server's log says why; try again later"),
    "an end of the connection": (cut, "closes the connection; see the server's log"),
    "silence": (hang, "does not answer in time; see whether the server works"),
}


FAST = ("a web page", "500")
KINDS = [pytest.param(kind, marks=[] if kind in FAST else pytest.mark.slow) for kind in BROKEN]


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_breaks_is_reported_once_and_asked_no_more(
    kind: str, team: Proxy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, expected = BROKEN[kind]
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1" if kind == "silence" else "20")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1" if "Retry" in str(answer) else "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", team.address.replace("//", "//me:secret@"))
    team.inject = lambda request, content: answer(request, content) if len(team.requests) > 12 else None
    assert not complete()
    printed = capsys.readouterr().err
    assert f"MLflow cannot be completed: {team.address} {expected}" in printed
    assert printed.count(team.address) == 1
    assert not re.search("<|Words of the page|secret|Traceback", printed), printed
    assert len(team.requests) <= 12 + 8, team.requests  # two at most for each of a redirect


@pytest.mark.parametrize(
    ("place", "answer", "expected"),
    [
        ("log-batch", always(500), "answers 500: the server's log says why"),
        pytest.param("log-batch", cut, "closes the connection", marks=pytest.mark.slow),
        pytest.param(
            "log-batch",
            always(400, REFUSAL),
            "answers: INVALID_PARAMETER_VALUE: it is too long",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "artifacts/", always(413), "answers 413: the server's log says why", marks=pytest.mark.slow
        ),
        pytest.param(
            "artifacts/", always(403), "answers 403: you have no permission", marks=pytest.mark.slow
        ),
    ],
)
def test_a_refused_run_is_reported_and_the_others_are_completed(
    place: str,
    answer: Callable[[str, bytes], Answer],
    expected: str,
    team: Proxy,
    lines: list[StageResult],
    capsys: pytest.CaptureFixture[str],
) -> None:
    store, results = Store(), lines
    stages = {result.inputs.stage for result in results}
    refused = store.run(results[1].inputs).info.run_id
    current = team.inject

    def refuse(request: str, content: bytes) -> Answer | None:
        of_run = refused in request or refused.encode() in content
        return answer(request, content) if place in request and of_run else None

    team.inject = refuse
    assert not _complete(store, results)
    printed = capsys.readouterr().err
    assert printed.count(f"MLflow: not complete: train_line@b: {team.address} {expected}") == 1
    assert not re.search("<|Words of the page|Traceback", printed), printed
    assert finished(team.target) == stages - {"train_line@b"}
    team.inject = current
    assert _complete(store, results)
    assert finished(team.target) == stages


def test_a_wrong_path_in_the_address_is_reported(
    pipeline: Path, server: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pipeline
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{server}/mlflow")
    assert not complete()
    assert f"{server}/mlflow answers 404: no MLflow server is there" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["500", pytest.param("an end of the connection", marks=pytest.mark.slow)])
def test_a_training_reports_a_server_that_breaks(kind: str, team: Proxy, lines: list[StageResult]) -> None:
    answer, expected = BROKEN[kind]
    folder = journal_folder(Path.cwd())
    training, tracker = LiveRun(lines[0].inputs, {}), Tracker(folder)
    tracker.upload()
    team.inject = answer
    training.log({"epoch": 1, "loss": 0.5})
    tracker.upload()
    (fault,) = [path.read_text() for path in folder.glob("*.fault")]
    assert fault.startswith(f"MLflow is not tracking train_line@a: {team.address} {expected}")
    assert "<" not in fault
    training.finish()
