"""A served network that checks its input, and refuses it in one sentence: over HTTP with status 400."""

import json
from numbers import Real
from pathlib import Path
from typing import Any

import mlflow.pytorch
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import Model

CHUNK = 1000  # rows at once: a network may need megabytes for each


class InvalidInput(MlflowException):
    """The input of a model is refused."""

    def serialize_as_json(self) -> str:
        """The answer over HTTP. MLflow's server has put the whole input before `message`."""
        return json.dumps({"error_code": self.error_code, "message": self.args[0]})


class CheckedModel:
    """The network of a pyfunc model.

    Args:
        network: MLflow's model of the network, whose `predict` takes arrays of float32.
        inputs, outputs: numbers in a row.
        values: those that a number of the input may have; empty: all finite ones.
        advice: what to do about others.
    """

    def __init__(self, network: Any, inputs: int, outputs: int, values: list[float], advice: str) -> None:
        self.network, self.inputs, self.outputs = network, inputs, outputs
        self.values, self.advice = values, advice

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> np.ndarray:  # noqa: ARG002
        """Rows (N, inputs) to (N, outputs), float32; raises an InvalidInput."""
        rows = self.rows(model_input)
        answers = np.empty((len(rows), self.outputs), np.float32)
        for start in range(0, len(rows), CHUNK):
            answers[start : start + CHUNK] = self.network.predict(rows[start : start + CHUNK])
        finite = np.isfinite(answers).all(axis=1)
        if not finite.all():
            row = np.argmin(finite)
            raise InvalidInput.invalid_parameter_value(
                f"row {row} of the input has no finite answer: its largest number is {abs(rows[row]).max():g}"
            )
        return answers

    def rows(self, model_input: Any) -> np.ndarray:
        """The input (N, inputs) as float32; raises an InvalidInput."""
        shape = f"(N, {self.inputs})"
        try:
            given = np.asarray(model_input)
            # as of a DataFrame with columns of several types
            if given.dtype == object and all(isinstance(item, Real | np.bool_) for item in given.flat):
                given = given.astype(float)
        except (TypeError, ValueError, RuntimeError, OverflowError):  # rows of different lengths
            given = np.asarray(None)
        if given.dtype.kind not in "biuf":
            raise InvalidInput.invalid_parameter_value(
                f"the input must be numbers of shape {shape}, "
                "without text, null, names of columns or rows of different lengths"
            )
        if given.shape == (0,):  # [] in JSON
            given = given.reshape(0, self.inputs)
        if given.ndim != 2 or given.shape[1] != self.inputs:
            raise InvalidInput.invalid_parameter_value(
                f"the input must have the shape {shape}, and has {given.shape}"
            )
        with np.errstate(over="ignore"):  # to infinity
            rows = np.array(given, np.float32, order="C")  # a copy: PyTorch warns of read-only arrays
        valid = np.isin(rows, self.values) if self.values else np.isfinite(rows)
        if not valid.all():
            row, column = np.unravel_index(np.argmin(valid), valid.shape)
            must = " or ".join(f"{value:g}" for value in self.values) or "finite in single precision"
            raise InvalidInput.invalid_parameter_value(
                f"each number of the input must be {must}, and row {row}, column {column} is "
                f"{given[row, column]}{self.advice and f': {self.advice}'}"
            )
        return rows


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> CheckedModel:
    """The model; MLflow calls this with the path of its data."""
    about = Model.load(Path(path).parent)
    (inputs,), (outputs,) = about.signature.inputs, about.signature.outputs
    network = mlflow.pytorch._load_pyfunc(path, model_config)
    return CheckedModel(network, inputs.shape[1], outputs.shape[1], **about.to_dict()["metadata"]["input"])
