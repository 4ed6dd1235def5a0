"""VAEs as MLflow models load and serve without this project's code, and give the same numbers."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient

from elbo.models.vae import VAE
from tests.conftest import Project, clean_environment
from tests.support.docs import documented
from tests.support.stores import free_port, run_server, runs_by_name, store_uri
from workflow.core.weights import read_weights

ROUNDING = 2e-5  # of float32 sums of 784 products, in two libraries

FOREIGN = """
import sys, numpy, mlflow
mlflow.set_tracking_uri(sys.argv[1])
given = numpy.load(sys.argv[2])
made = {}
for name in ("vae-encoder", "vae-decoder"):
    model = mlflow.pyfunc.load_model(f"models:/{name}@best-on-test")
    made[name] = model.predict(given[name])
    one = model.predict(given[name][:1])
    assert one.shape == (1, made[name].shape[1]), one.shape
    assert (model.predict(given[name].tolist()) == made[name]).all()
    try:
        model.predict(given[name] + float("nan"))
    except mlflow.exceptions.MlflowException as error:
        assert "row 0, column 0 is nan" in error.message, error
    else:
        raise AssertionError("NaN is no input")
assert not {"elbo", "stages", "workflow"} & set(sys.modules)
numpy.savez(sys.argv[3], **made)
"""


def best(project: Project) -> VAE:
    """The variant with the higher test ELBO, by this project's own code."""
    found = {name: run for name, run in runs_by_name(store_uri(project)).items() if name.startswith("vae/")}
    name = max(found, key=lambda name: found[name].data.metrics["elbo/test.elbo"])
    return VAE.from_weights(*read_weights(project.path / "models" / f"{name}.safetensors"))


@pytest.fixture(scope="module")
def given() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "vae-encoder": (random.random((50, 784)) < 0.3).astype(np.float32),
        "vae-decoder": random.standard_normal((50, 2)).astype(np.float32),
    }


def expected(model: VAE, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    with torch.no_grad():
        loc = model.encoder(torch.from_numpy(given["vae-encoder"])).mean
        return {
            "vae-encoder": loc.numpy(),
            "vae-decoder": model.decode(torch.from_numpy(given["vae-decoder"])).numpy(),
        }


def test_models_load_without_this_projects_code_and_give_its_numbers(
    reproduced: Project, given: dict[str, np.ndarray], tmp_path: Path
) -> None:
    np.savez(tmp_path / "given.npz", **given)  # type: ignore[arg-type]
    command = [
        sys.executable, "-c", FOREIGN, store_uri(reproduced),
        str(tmp_path / "given.npz"), str(tmp_path / "made.npz"),
    ]  # fmt: skip
    subprocess.run(command, cwd=tmp_path, env=clean_environment(), check=True)
    made = np.load(tmp_path / "made.npz")
    for name, values in expected(best(reproduced), given).items():
        assert made[name].shape == values.shape
        np.testing.assert_allclose(made[name], values, atol=ROUNDING)


def test_a_model_serves_over_http_without_building_an_environment(
    reproduced: Project, given: dict[str, np.ndarray], tmp_path: Path
) -> None:
    port = free_port()
    serve = documented("MLFLOW_TRACKING_URI=sqlite:///mlflow.db mlflow models serve")
    ask = documented("curl")
    serve = serve.replace("sqlite:///mlflow.db", store_uri(reproduced)).replace("5001", str(port))
    with run_server(["env", *shlex.split(serve)], port, tmp_path, "/ping") as address:
        shown = subprocess.check_output(shlex.split(ask.replace("localhost:5001", address)), text=True)
        assert np.array(json.loads(shown)["predictions"]).shape == (2, 784)
        body = json.dumps({"inputs": given["vae-decoder"].tolist()}).encode()
        request = urllib.request.Request(f"{address}/invocations", body, {"Content-Type": "application/json"})
        answer = json.load(urllib.request.urlopen(request, timeout=60))
        request.data = b'{"inputs": [[0, null]]}'
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=60)
        reason = "the input must be numbers of shape (N, 2), without text, null"
        assert (refused.value.code, reason in refused.value.read().decode()) == (400, True)
    values = expected(best(reproduced), given)["vae-decoder"]
    np.testing.assert_allclose(np.array(answer["predictions"]), values, atol=ROUNDING)


def test_each_variant_is_a_version_with_signature_and_the_best_has_an_alias(reproduced: Project) -> None:
    client = MlflowClient(store_uri(reproduced))
    found = runs_by_name(store_uri(reproduced))
    for name, inputs, outputs in (("vae-encoder", 784, 2), ("vae-decoder", 2, 784)):
        registered = client.get_registered_model(name)
        assert "must not be used for model selection" in registered.description
        versions = client.search_model_versions(f"name='{name}'")
        assert {version.tags["variant"] for version in versions} == {"notebook", "tuned"}
        assert set(registered.aliases) == {"best-on-test"}  # without a held-out split there is no `best`
        chosen = client.get_model_version_by_alias(name, "best-on-test")
        elbos = {
            run.info.run_id: run.data.metrics["elbo/test.elbo"] for key, run in found.items() if "vae" in key
        }
        assert chosen.run_id == max(elbos, key=lambda run_id: elbos[run_id])
        import mlflow
        from mlflow.models import get_model_info

        mlflow.set_tracking_uri(store_uri(reproduced))
        info = get_model_info(f"models:/{name}@best-on-test")
        assert info.signature is not None
        assert info.signature.inputs.to_dict()[0]["tensor-spec"]["shape"] == (-1, inputs)
        assert info.signature.outputs.to_dict()[0]["tensor-spec"]["shape"] == (-1, outputs)
        assert info.saved_input_example_info is not None


def test_a_run_leads_to_the_exact_weights(project: Project, tmp_path: Path) -> None:
    tags = runs_by_name(store_uri(project))["vae/tuned"].data.tags
    (project.path / "models/vae/tuned.safetensors").unlink()
    target = str(tmp_path / "weights.safetensors")
    project.run("dvc", "get", ".", "models/vae/tuned.safetensors", "--rev", tags["git_commit"], "-o", target)
    from workflow.core.files import md5

    assert md5(target) == tags["model_md5"]


@pytest.mark.slow
def test_a_partly_logged_model_and_a_lost_alias_are_restored(project: Project) -> None:
    client = MlflowClient(store_uri(project))
    run = runs_by_name(store_uri(project))["vae/tuned"]
    project.run("python", "-m", "workflow.tracking")
    client.delete_registered_model_alias("vae-decoder", "best-on-test")
    # as after an interruption
    half = client.create_logged_model(run.info.experiment_id, "vae-decoder", run.info.run_id)
    client.delete_tag(run.info.run_id, "registered_md5")
    project.run("python", "-m", "workflow.tracking")
    models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    assert sorted(model.name for model in models) == ["vae-decoder", "vae-encoder"]
    assert half.model_id not in {model.model_id for model in models}
    assert client.get_model_version_by_alias("vae-decoder", "best-on-test").run_id
    assert len(client.search_model_versions("name='vae-decoder'")) == 2
