"""params.yaml: all errors are reported at once, each with its path."""

from __future__ import annotations

import copy
import importlib.util
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stages.schema import Params
from tests.support.repository import ROOT
from workflow.core.errors import UserError
from workflow.core.files import read_yaml
from workflow.core.params import MESSAGES, explain, load


def edited(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    text = (ROOT / "params.yaml").read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return path


def error_message(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load(Params, path=path)
    return str(caught.value)


def test_the_committed_params_are_valid_and_sections_load_by_name() -> None:
    annuli, tuned = load(Params, "annuli", "vae.tuned", path=ROOT / "params.yaml")
    assert annuli.points == 500
    assert tuned.architecture.hidden == [512, 256]


def test_all_errors_are_reported_at_once_with_their_paths(tmp_path: Path) -> None:
    path = edited(
        tmp_path,
        ("    lr: 0.0003", "    lr: fast"),
        ("    epochs: 20", "    epochs: 0"),
        ("threshold: 0.5", "treshold: 0.5"),
        ("schedule: constant          #", "schedule: cosinus  #"),
        ("  threads: 2", "  threads: 2.5"),
    )
    message = error_message(path)
    assert 'vae.notebook.lr: "fast" is not a number' in message
    assert "vae.notebook.epochs: 0 is too small; write 1 or more" in message
    assert "data.treshold: unknown key; did you mean threshold?" in message
    assert "data.threshold: is missing" in message
    assert "vae.notebook.schedule: \"cosinus\" is not known; write 'constant' or 'cosine'" in message
    assert "compute.threads: 2.5 is not a whole number" in message
    assert message.startswith(f"{path} has 6 errors:\n  ")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("compute:", "computer:", "computer: unknown key; did you mean compute?"),
        ("    batch_size: 64", "    batchsize: 64", "unknown key; did you mean batch_size?"),
        ("  samples: 100", "  samples: 95", "samples (95) must be a multiple of each k in iwae"),
        ("  samples: 10000 ", "  samples: 3 ", "critique: samples (3) must be more than neighbours (3)"),
        ("  digits: ", "  digits: 1000  # ", "figures.digits: 1000 is too large; write 50 or less"),
        ("    lr: 0.0003", "    lr: .inf", "vae.notebook.lr: inf is not a finite number"),
        ("    lr: 0.0003", "    lr: true", "vae.notebook.lr: true is not a number"),
        ("    clip_norm: null             #", "    clip_norm: off  #", '"off" is not a number, or null'),
        ("mlp, hidden: [512, 256]", "mlp, hidden: []", "hidden: the number of items is 0"),
        ("mlp, hidden: [512, 256]", "mlp, hiden: [512]", "vae.notebook.architecture.hiden: unknown key"),
        ("{kind: mlp", "{kind: tree", "vae.notebook.architecture.kind: \"tree\" is not known"),
        ("{kind: mlp, ", "{", "vae.notebook.architecture.kind: is missing"),
        ("architecture: {kind: mlp, hidden: [512, 256], residual: false}", "architecture: 3",
         "is not a section"),
        ("mlp, hidden: [512, 256]", "mlp, hidden: [5000]", "hidden.0: 5000 is too large; write 4096 or less"),
        ("mlp, hidden: [512, 256]", f"mlp, hidden: {[9] * 17}", "hidden: the number of items is 17"),
        ("mlp, hidden: [512, 256], residual: false", "mlp, hidden: [512], residual: true",
         "vae.notebook.architecture: `residual: true` links hidden layers, and there is one; write false"),
        ("256], residual: false", "256]", "vae.notebook.architecture.residual: is missing"),
        ("residual: false", "residual: 1", "vae.notebook.architecture.residual: 1 is neither true nor false"),
        ("mlp, hidden: [512, 256], residual: false", f"conv, channels: {[8] * 6}, hidden: [8]",
         "vae.notebook.architecture.channels: 6 convolutions are too many for pictures of 28 x 28 pixels"),
        ("latent: 2  ", "latent: 1  ", "vae.notebook.latent: 1 is too small; write 2 or more"),
        ("latent: 2  ", "latent: 129  ", "vae.notebook.latent: 129 is too large; write 128 or less"),
        ("output_bias: zero", "output_bias: mean", "output_bias: \"mean\" is not known; write 'zero'"),
        ("posterior: diagonal", "posterior: iaf", "\"iaf\" is not known; write 'diagonal', 'full' or 'flow'"),
        ("beta: 1.0", "beta: 0.0", "vae.notebook.beta: 0.0 is too small; write a number above 0"),
        ("beta: 1.0", "beta: 1.0e+300", "vae.notebook.beta: 1e+300 is too large; write 1000"),
        ("beta_warmup: 0.0", "beta_warmup: 20", "vae.notebook.beta_warmup: 20 is too large; write 1"),
        ("    k: 1", "    k: 5", "vae.notebook.k: 5 does not fit `objective: elbo`"),
        ("objective: elbo", "objective: iwae", "vae.notebook.k: 1 does not fit `objective: iwae`"),
        ("dataset: mnist", "dataset: emnist", "data.dataset: \"emnist\" is not known; write 'mnist', "),
        ("    lr: 0.0003", "    lr: 1.0e+39", "vae.notebook.lr: 1e+39 is too large; write 1e+30 or less"),
        ("    lr: 0.8", "    lr: 1.0e+308", "well_conditioned.lr: 1e+308 is too large; write 1e+100"),
        ("    start: 10.0", "    start: 1.0e+308", "start: 1e+308 is too large; write 1e+100"),
        ("    a: [0.2,", "    a: [5.0e-324,", "a.0: 5e-324 is too small; write 1e-100"),
        ("positive: [0.0, 2.5]", "positive: [2.5, 0.0]", "positive is not [inner radius, larger"),
        ("  notebook: ", f"  {'x' * 61}: ", "a name of 61 letters is too long; write 60 or fewer"),
        ("  notebook: ", "  No Book: ", 'vae.No Book: "No Book" cannot be a name; write small letters'),
        ("  annuli:", "  mine:", "classifier.mine: unknown key; known here: annuli, images"),
        ("  images:   ", "  judge:   ", "classifier.images: is missing"),
        ("validation: 0", "validation: 60000", "validation takes 60000 of the 60000 training images"),
        ("threads: 2", "threads: 2000", "compute.threads: 2000 is too large; write 1024 or less"),
    ],
)  # fmt: skip
def test_an_error_is_explained(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert expected in error_message(edited(tmp_path, (old, new)))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("path: data/own", "path: null", "data.path: null is not text"),
        ("path: data/own", "path: ' '", "data.path: it is no path; write that of an .npz or a folder"),
        ("path: data/own", "path: data", 'data.path: "data" and results would lie in each other'),
        ("path: data/own", "path: ..", 'data.path: ".." and results would lie in each other'),
        ("path: data/own", "path: ./models/x", 'data.path: "./models/x" and results would lie in each other'),
        ("classes: null", "classes: [a, a]", "data.classes: write two or more names, all different, or null"),
        ("classes: null", "classes: [1, 2]", "data.classes.0: 1 is not text; write it in quotes"),
        ("classes: null", "classes: [a, class]", "data.classes: 'class' is a word that tables take"),
        ("classes: null", "classes: [a, $b$]", "data.classes: '$b$' does not begin with a letter or digit"),
        ("binarization: threshold", "binarization: none", "which is none for grey levels between 0 and 1"),
        ("binarization: threshold", "binarization: statik", "data.binarization: \"statik\" is not known"),
        ("dataset: mnist", "dataset: own", ""),
    ],
)  # fmt: skip
def test_errors_of_the_data_are_explained(tmp_path: Path, old: str, new: str, expected: str) -> None:
    path = edited(tmp_path, (old, new))
    if expected:
        assert expected in error_message(path)
    else:  # the number of own images is not known yet
        path.write_text(path.read_text().replace("validation: 0", "validation: 70000"))
        load(Params, path=path)
        mlp, conv = "mlp, hidden: [512, 256], residual: false", f"conv, channels: {[8] * 7}, hidden: [8]"
        most = "7 convolutions are too many for pictures of 64 x 64 pixels"
        assert most in error_message(edited(tmp_path, (old, new), (mlp, conv)))


IWAE = (("objective: elbo", "objective: iwae"), ("    k: 1 ", "    k: 8 "))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([("posterior: diagonal", "posterior: flow")], "posterior: flow does not fit `objective: iwae`: its"),
        ([("beta: 1.0", "beta: 0.5")], "beta: 0.5 does not fit `objective: iwae`: it has no KL to weigh"),
        ([("beta_warmup: 0.0", "beta_warmup: 0.5")], "beta_warmup: 0.5 does not fit `objective: iwae`: it"),
        ([("    k: 8", "    k: 600")], "k: 600 samples of 64 images are too many at once; k × batch"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_importance_weighted_objective_is_refused_with_the_reason(
    tmp_path: Path, changes: list[tuple[str, str]], expected: str
) -> None:
    load(Params, path=edited(tmp_path, *IWAE))
    message = error_message(edited(tmp_path, *IWAE, *changes))
    assert "params.yaml has 1 error:" in message
    assert f"vae.notebook.{expected}" in message


def test_an_architecture_is_one_line_of_the_schema(tmp_path: Path) -> None:
    """Settings may be a list of counts, a flag, a number, or one of several words."""
    path = tmp_path / "schema.py"
    settings = '{"branches": Counts, "deep": bool, "levels": int, "share": float, "order": Literal["up"]}'
    text = (ROOT / "stages/schema.py").read_text()
    start = "ARCHITECTURES: dict[str, dict[str, Any]] = {\n"
    assert start in text
    path.write_text(text.replace(start, start + f'    "tree": {settings},\n'))
    spec = importlib.util.spec_from_file_location("schema_with_a_tree", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    mlp = "{kind: mlp, hidden: [512, 256], residual: false}"
    tree = "{kind: tree, branches: [2, 3], deep: true, levels: 4, share: 0.5, order: up}"
    (found,) = load(module.Params, "vae.notebook", path=edited(tmp_path, (mlp, tree)))
    assert found.architecture.model_dump() == {
        "kind": "tree", "branches": [2, 3], "deep": True, "levels": 4, "share": 0.5, "order": "up",
    }  # fmt: skip
    for wrong, expected in (
        (tree.replace("[2, 3]", "[2, 0]"), "branches.1: 0 is too small; write 1 or more"),
        (tree.replace("up", "down"), "order: \"down\" is not known; write 'up'"),
        (tree.replace("deep: true, ", ""), "deep: is missing"),
        (tree.replace("levels", "layers"), "layers: unknown key; did you mean levels?"),
    ):
        with pytest.raises(UserError, match=re.escape(f"vae.notebook.architecture.{expected}")):
            load(module.Params, path=edited(tmp_path, (mlp, wrong)))


def paths(content: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths of all sections, lists and single values of params.yaml."""
    yield path
    if isinstance(content, dict | list):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from paths(value, (*path, key))


def test_no_message_uses_pydantics_wording() -> None:
    faulty: list[Any] = [
        None,
        True,
        "x",
        "\ud800",
        -1,
        0,
        7,
        0.5,
        10**30,
        math.nan,
        [],
        [1, 2, 3],
        {},
        {"X": {}},
        {1: 2},
    ]
    whole = read_yaml(ROOT / "params.yaml")
    del whole["quadratic"]["ill_conditioned"], whole["quadratic"]["high_dimensional"], whole["vae"]["tuned"]
    Params.model_validate(whole)
    seen = set()
    for path in paths(whole):
        for value in faulty:
            holder = {"all": copy.deepcopy(whole)}
            at: Any = holder
            *before, last = ("all", *path)
            for key in before:
                at = at[key]
            at[last] = value
            try:
                Params.model_validate(holder["all"])
            except ValidationError as error:
                for detail in error.errors():
                    message = explain(Params, dict(detail))
                    message.encode()
                    seen.add(detail["type"])
                    own = detail["type"] == "value_error" and detail["msg"].removeprefix("Value error, ")
                    assert own or detail["msg"].removeprefix("Input ") not in message
    assert seen == {*MESSAGES, "extra_forbidden"}


def test_numbers_are_read_as_dvc_reads_them(tmp_path: Path) -> None:
    path = edited(tmp_path, ("    lr: 0.0003", "    lr: 3e-4"))
    assert read_yaml(path)["vae"]["notebook"]["lr"] == 3e-4


def test_a_yaml_error_gives_file_and_line(tmp_path: Path) -> None:
    message = error_message(edited(tmp_path, ("compute:", "compute: [")))
    assert "params.yaml is not YAML (line 1" in message
    message = error_message(edited(tmp_path, ("  portable:", "  threads: 3\n  portable:")))
    assert 'params.yaml is not YAML (line 16, column 3: found duplicate key "threads"' in message
    assert "http" not in message


def test_the_error_for_an_unknown_section_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"no section vae\.tunde; there are: notebook, tuned"):
        load(Params, "vae.tunde", path=ROOT / "params.yaml")
