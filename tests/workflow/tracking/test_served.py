"""Served models of each kind give the model's numbers, and refuse in one sentence what is no input."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
import uvicorn
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.pyfunc import scoring_server

from elbo.determinism import stream
from elbo.models.served import networks
from elbo.models.vae import VAE, Design
from tests.support.stores import free_port
from workflow.tracking import export

PIXELS = 60
MLP = {"kind": "mlp", "hidden": [8, 8], "residual": True}
CONV = {"kind": "conv", "channels": [3, 4], "hidden": [8]}
KINDS = [(MLP, "full", 20), (CONV, "diagonal", 2)]
SLOW_KINDS = [(MLP, "flow", 2), (MLP, "flow", 20), (CONV, "flow", 2), (CONV, "full", 20)]
NAN, INF = float("nan"), float("inf")


def served(folder: Path, architecture: dict[str, Any], posterior: str, latent: int) -> tuple[VAE, Any]:
    """A model, and its encoder and decoder by name as MLflow loads them."""
    model = VAE((5, 12), Design(latent, architecture, "gelu", posterior), stream(0, "init"))
    loaded = {}
    for name, parts in networks(model.state_dict(), model.about).items():
        export.save_model(str(folder / name), Model(), *parts)
        loaded[name] = mlflow.pyfunc.load_model(str(folder / name))
    return model, loaded


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def models(folder: Path) -> Any:
    return served(folder, MLP, "diagonal", 2)[1]


@pytest.fixture(scope="module")
def address(models: Any) -> Iterator[str]:
    """MLflow's server of the encoder, in a thread."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")  # set for good by `init`
        port = free_port()
        config = uvicorn.Config(scoring_server.init(models["vae-encoder"]), port=port, log_level="error")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/invocations"
        server.should_exit = True
        thread.join()


def ask(address: str, body: str) -> tuple[int, Any]:
    """Status and answer; an answer with NaN is no JSON."""
    request = urllib.request.Request(address, body.encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read(), parse_constant=pytest.fail)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read(), parse_constant=pytest.fail)


@pytest.mark.parametrize(
    ("architecture", "posterior", "latent"),
    [*KINDS, *(pytest.param(*kind, marks=pytest.mark.slow) for kind in SLOW_KINDS)],
)
def test_a_served_model_of_each_kind_gives_the_models_numbers(
    architecture: dict[str, Any], posterior: str, latent: int, tmp_path: Path
) -> None:
    model, loaded = served(tmp_path, architecture, posterior, latent)
    images = torch.rand(200, PIXELS, generator=stream(0, "images")).round()
    latents = torch.randn(200, latent, generator=stream(0, "latents"))
    with torch.no_grad():
        expected = {
            "vae-encoder": (images, model.encoder(images).mean),
            "vae-decoder": (latents, model.decode(latents)),
        }
        for name, (given, answers) in expected.items():
            for rows in (0, 1, 5, 200):
                found = loaded[name].predict(given[:rows].numpy())
                np.testing.assert_allclose(found, answers[:rows], rtol=1e-4, atol=1e-5)
            program = (tmp_path / name / "data/model.pt2").read_bytes()
            assert b"mkldnn" not in program  # a private operator, which another version may lack
    with pytest.raises(MlflowException, match="must be 0 or 1"):
        loaded["vae-encoder"].predict(images.numpy() / 2)


def test_all_types_of_numbers_give_the_same_answer(models: Any, folder: Path) -> None:
    given = np.random.default_rng(0).random((10_000, PIXELS)) < 0.3
    expected = models["vae-encoder"].predict(given.astype(np.float32))
    assert expected.shape == (10_000, 2)
    forms = [given, given.tolist(), given.astype(int), given.astype(int).tolist(), given.astype(float),
             given.astype(np.float16), given[::-1][::-1], pd.DataFrame(given.astype(int)),
             torch.from_numpy(given), list(given)]  # fmt: skip
    columns = pd.DataFrame(given.astype(int)).astype({0: bool, 1: float})
    forms += [given.astype(object), columns, columns.convert_dtypes()]
    for form in forms:
        np.testing.assert_array_equal(models["vae-encoder"].predict(form), expected)
    network = mlflow.pytorch.load_model(str(folder / "vae-encoder"))  # a network of tensors, without checks
    np.testing.assert_allclose(network(torch.tensor(given).float()), expected, rtol=1e-4, atol=1e-5)
    assert models["vae-encoder"].predict([]).shape == (0, 2)
    assert models["vae-decoder"].predict([[0, 1], [2, -1]]).shape == (2, PIXELS)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([0.5] * PIXELS, "must be 0 or 1, and row 1, column 0 is 0.5: binarize grey levels first"),
        ([0] * 59 + [255], "row 1, column 59 is 255: binarize"),
        ([-1] * PIXELS, "is -1"),
        ([NAN] * PIXELS, "is nan"),
        ([INF] * PIXELS, "is inf"),
        ([None] + [0] * 59, "must be numbers of shape (N, 60), without text, null"),
        (["1"] * PIXELS, "without text"),
        ([2**80] * PIXELS, "is 1.208925819614629"),
        ([10**400] * PIXELS, "must be numbers"),
        ([pd.NA] * PIXELS, "must be numbers"),
        ([1j] * PIXELS, "must be numbers"),
        ([0] * 59, "rows of different lengths"),
    ],
)
def test_an_encoder_refuses_what_is_no_binary_picture(models: Any, row: list[Any], reason: str) -> None:
    with pytest.raises(MlflowException) as caught:
        models["vae-encoder"].predict([[0] * PIXELS, row])
    assert reason in caught.value.message
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize(
    "given",
    [np.zeros(60), np.zeros((2, 5, 12)), np.zeros((2, 59)), np.zeros((0, 59)), [[]], [[[]]], 1, None, "text",
     {"pixels": [0] * 60}, [{"pixels": 0}], pd.DataFrame({"pixels": ["x"]}), pd.DataFrame()],
)  # fmt: skip
def test_an_encoder_refuses_other_shapes(models: Any, given: Any) -> None:
    with pytest.raises(MlflowException, match=r"\(N, 60\)"):
        models["vae-encoder"].predict(given)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([NAN, 0], "must be finite in single precision, and row 1, column 0 is nan"),
        ([0, -INF], "column 1 is -inf"),
        ([0, 1e39], "column 1 is 1e+39"),
        ([-3.4e38, 3.4e38], "row 1 of the input has no finite answer: its largest number is 3.4e+38"),
    ],
)
def test_a_decoder_refuses_latents_without_an_answer(models: Any, row: list[float], reason: str) -> None:
    with pytest.raises(MlflowException) as caught:
        models["vae-decoder"].predict([[0, 0], row])
    assert reason in caught.value.message
    assert np.isfinite(models["vae-decoder"].predict([[1e6, -1e6]])).all()


def test_over_http_a_refusal_is_status_400_and_one_sentence(address: str) -> None:
    for rows in (0, 1, 3):
        status, answer = ask(address, json.dumps({"inputs": [[0, 1.0, True] * 20] * rows}))
        assert (status, np.shape(answer["predictions"])) == (200, (rows, 2) if rows else (0,))
    for value in ("0.5", "7", "255", "null", '"1"', "NaN", "Infinity", "1e400", "[0]", "{}"):
        row = ", ".join([value] * PIXELS)
        status, answer = ask(address, f'{{"inputs": [[{row}]]}}')
        assert status == 400, value
        assert answer.keys() == {"error_code", "message"}
        assert "the input must " in answer["message"].replace("of ", ""), value
        assert len(answer["message"]) < 250, value
    for inputs in ("null", "{}", "[0]", '{"pixels": [[0]]}', '"text"', "[[]]", "[[0], [0, 1]]", "[null]"):
        status, answer = ask(address, f'{{"inputs": {inputs}}}')
        assert (status, "(N, 60)" in answer["message"]) == (400, True), inputs
    for body in ("{}", '{"pixels": [[0]]}', '{"instances": [[0]]}', "[]", "no JSON", ""):
        status, answer = ask(address, body)
        assert (status, "stack_trace" in answer) == (400, False), body
