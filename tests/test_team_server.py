"""The README's server for a team: MLflow on a real PostgreSQL, with an artifact store, by one variable."""

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
from tests.stores import EVERY, brought, content, files, free_port, runs, serving, store, wait_for
from tests.test_readme import README


def tool(name: str) -> str:
    """A program of PostgreSQL, which Debian keeps out of the PATH; skips where there is none."""
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
    """A real cluster of its own, on a free port, with a database `mlflow`."""
    initdb, control = tool("initdb"), tool("pg_ctl")
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # PostgreSQL's user cannot enter pytest's folders
    # it refuses to run as root
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
        run(tool("createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", "mlflow", "mlflow")
        yield f"postgresql://mlflow@127.0.0.1:{port}/mlflow"
    finally:
        run(control, "-D", f"{folder}/data", "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.spine
def test_the_readmes_lines_bring_up_a_server_on_postgresql_that_has_it_all(
    project: Project, postgres: str, tmp_path: Path
) -> None:
    written = re.search(r"^mlflow server (?:.*\\\n)*.*$", README, re.M)
    assert written, "the README has no `mlflow server`"
    port = free_port()
    line = re.sub(r"postgresql://\S+", postgres, written[0].replace("\\\n", " "))
    line = re.sub(r"--artifacts-destination \S+", f"--artifacts-destination {tmp_path}/artifacts", line)
    line = re.sub(r"--host \S+", "--host 127.0.0.1", line) + f" --port {port} --workers 1"
    undisturbed = content(store(project))
    with serving(shlex.split(line), port, tmp_path) as address:
        # a training that logs live, then all the rest
        project.run(
            "dvc", "repro", "--force", "--single-item", "train_vae@notebook", MLFLOW_TRACKING_URI=address
        )  # fmt: skip
        wait_for(lambda: brought(project))
        assert runs(address)["vae/notebook"].info.status == "FINISHED"
        project.run("python", "-m", "stages.track", MLFLOW_TRACKING_URI=address)
        assert content(address) == undisturbed
        assert runs(address).keys() == EVERY
        client = MlflowClient(address)
        run = runs(address)["vae/tuned"]
        name = "figures/vae_tuned_samples.png"
        assert name in files(client, run.info.run_id)
        path = client.download_artifacts(run.info.run_id, name, str(tmp_path))
        assert Path(path).read_bytes() == (project.path / "reports" / name).read_bytes()
        code = (
            "import mlflow, numpy\n"
            "model = mlflow.pyfunc.load_model('models:/vae-decoder@best-on-test')\n"
            "assert model.predict(numpy.zeros((2, 2), 'float32')).shape == (2, 784)"
        )
        environment = clean_environment() | {"MLFLOW_TRACKING_URI": address}
        subprocess.run(["python", "-c", code], cwd=tmp_path, env=environment, check=True)
