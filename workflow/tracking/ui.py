"""`make ui`: MLflow's pages of this project's store, on a free port, with links to those of its results."""

import json
import os
import socket
import sys
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

from workflow.core.errors import UserError
from workflow.runs.console import run, say, warn
from workflow.runs.identity import main_repository, member
from workflow.runs.project import project
from workflow.tracking.live import OFF, explain, tracking_uri
from workflow.tracking.results import results_of
from workflow.tracking.store import Store


def main() -> None:
    root = main_repository()
    uri = tracking_uri(root)
    if uri == OFF:
        raise UserError("MLflow is switched off (MLFLOW_TRACKING_URI=none)")
    server = urlsplit(uri)
    port = ""
    if server.scheme in ("http", "https"):
        address = server._replace(netloc=server.netloc.rpartition("@")[2]).geturl().rstrip("/")
        say(f"MLflow is on {address}")
    else:
        port = str(choose_port(os.environ.get("PORT", "")))
        address = f"http://127.0.0.1:{port}"
        say(f"MLflow is on {address} (Ctrl-C ends it)")
    try:
        for title, path in links():
            say(f"  {title}: {address}/#/{path}")
    except Exception as error:  # whatever DVC, MLflow, its database or its server raises
        warn(f"no links: {explain(error)}")
    if port:
        os.chdir(root)
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # otherwise the links scroll away
        os.environ.setdefault("PYTHONWARNINGS", "ignore")
        # eight processes, which take 2 GB and half a minute, for jobs that judge answers of language models
        os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
        command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--port", port]
        os.execv(sys.executable, [*command, "--workers", "1", "--uvicorn-opts", "--log-level warning"])


def links() -> Iterator[tuple[str, str]]:
    """Titles and paths of those MLflow pages of the results in the working directory that exist.

    The page of each experiment, the comparison of the first one with several runs, and the registry.
    """
    store, settings = Store(), project()
    results = results_of(None)
    comparison: list[tuple[str, str]] = []
    for family in [member(stage)[0] for stage in settings.runs]:
        experiment = store.client.get_experiment_by_name(family)
        if experiment is None or experiment.lifecycle_stage == "deleted":
            continue
        number = str(experiment.experiment_id)
        inputs = [result.inputs for result in results if result.inputs.family == family]
        found = {item.name: store.find_run(number, item) for item in inputs}
        runs = {
            name: run.info.run_id
            for name, run in found.items()
            if run and run.info.lifecycle_stage == "active"
        }
        yield f"experiment {family}", f"experiments/{number}/runs"
        if len(runs) > 1 and not comparison:
            query = "&".join(
                f"{key}={quote(json.dumps(ids, separators=(',', ':')))}"
                for key, ids in {"runs": list(runs.values()), "experiments": [number]}.items()
            )
            comparison = [(f"comparison of {', '.join(runs)}", f"compare-runs?{query}")]
    yield from comparison
    names = settings.models.names if settings.models else {}
    if any(model.name in names for model in store.client.search_registered_models()):
        yield "registered models", "models"


def choose_port(requested: str, first: int = 5000) -> int:
    """The requested port (a UserError if it is taken, or none), or by default the first free one."""
    if requested and not (requested.isdecimal() and 0 < int(requested) < 1 << 16):
        raise UserError(f"PORT={requested} is not a port: give a number, as in `make ui PORT={first}`")
    for port in [int(requested)] if requested else range(first, 1 << 16):
        with socket.socket() as probe:
            # not by binding: macOS allows that even if a program listens on all addresses
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise UserError(f"port {requested} is taken by another program; choose another one: `make ui PORT=…`")


if __name__ == "__main__":
    run(main)
