"""The documented team server: MLflow on a real PostgreSQL with an artifact store."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.conftest import Project, clean_environment
from tests.support.docs import documented
from tests.support.stores import (
    RUN_NAMES,
    artifact_paths,
    free_port,
    journals_uploaded,
    run_server,
    runs_by_name,
    store_content,
    store_uri,
    wait_for,
)


def find_program(name: str) -> str:
    """A PostgreSQL program, which Debian keeps out of PATH; skips the test if it is missing."""
    found = shutil.which(name) or next(
        (str(path) for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), None
    )
    if found is None:
        if os.environ.get("REQUIRE_TOOLS"):
            pytest.fail(f"{name} is not here: apt-get install postgresql")
        pytest.skip(f"{name} is not here: install PostgreSQL")
    return found


@pytest.fixture
def postgres() -> Iterator[str]:
    """A new PostgreSQL cluster on a free port, with a database `mlflow`."""
    initdb, control = find_program("initdb"), find_program("pg_ctl")
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # PostgreSQL's user cannot enter pytest's folders
    # PostgreSQL refuses to run as root
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)

    def run(*command: str) -> None:
        subprocess.run(
            command, cwd=folder, user=user, env={"PATH": os.environ["PATH"], "LC_ALL": "C"}, check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    run(initdb, "-D", f"{folder}/data", "-U", "mlflow", "--auth=trust", "-E", "UTF8")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
    run(control, "-D", f"{folder}/data", "-l", f"{folder}/log", "-o", options, "-w", "start")
    try:
        run(find_program("createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", "mlflow", "mlflow")
        yield f"postgresql://mlflow@127.0.0.1:{port}/mlflow"
    finally:
        run(control, "-D", f"{folder}/data", "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.mark.slow
def test_the_documented_command_starts_a_server_on_postgresql(
    project: Project, postgres: str, tmp_path: Path
) -> None:
    port = free_port()
    line = re.sub(r"postgresql://\S+", postgres, documented("mlflow server"))
    line = re.sub(r"--artifacts-destination \S+", f"--artifacts-destination {tmp_path}/artifacts", line)
    line = re.sub(r"--host \S+", "--host 127.0.0.1", line) + f" --port {port} --workers 1"
    undisturbed = store_content(store_uri(project))
    with run_server(shlex.split(line), port, tmp_path) as address:
        # one training logs live, then all other runs are completed
        project.run(
            "dvc", "repro", "--force", "--single-item", "train_vae@notebook", MLFLOW_TRACKING_URI=address
        )  # fmt: skip
        wait_for(lambda: journals_uploaded(project))
        assert runs_by_name(address)["vae/notebook"].info.status == "FINISHED"
        project.run("python", "-m", "workflow.tracking", MLFLOW_TRACKING_URI=address)
        assert store_content(address) == undisturbed
        assert runs_by_name(address).keys() == RUN_NAMES
        client = MlflowClient(address)
        run = runs_by_name(address)["vae/tuned"]
        name = "figures/samples.png"
        assert name in artifact_paths(client, run.info.run_id)
        path = client.download_artifacts(run.info.run_id, name, str(tmp_path))
        drawn = project.path / "reports/figures/vae/tuned/samples.png"
        assert Path(path).read_bytes() == drawn.read_bytes()
        code = (
            "import mlflow, numpy\n"
            "model = mlflow.pyfunc.load_model('models:/vae-decoder@best-on-test')\n"
            "assert model.predict(numpy.zeros((2, 2), 'float32')).shape == (2, 784)"
        )
        environment = clean_environment() | {"MLFLOW_TRACKING_URI": address}
        subprocess.run(["python", "-c", code], cwd=tmp_path, env=environment, check=True)
