"""params.yaml: everything that is wrong is said at once, by its path."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.console import UserError
from pipeline.params import load, read
from stages.schema import Params
from tests.closure import ROOT


def edited(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    text = (ROOT / "params.yaml").read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return path


def complaint(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load(Params, path=path)
    return str(caught.value)


def test_the_committed_file_is_right_and_hands_out_the_named_sections_alone() -> None:
    compute, tuned = load(Params, "compute", "vae.tuned", path=ROOT / "params.yaml")
    assert compute.threads >= 1
    assert tuned.hidden == [512, 256]


def test_all_faults_are_reported_at_once_by_their_paths(tmp_path: Path) -> None:
    path = edited(
        tmp_path,
        ("    lr: 0.0003", "    lr: fast"),
        ("    epochs: 20", "    epochs: 0"),
        ("threshold: 0.5", "treshold: 0.5"),
        ("schedule: constant          #", "schedule: cosinus  #"),
        ("  threads: 2", "  threads: 2.5"),
    )
    message = complaint(path)
    assert "vae.notebook.lr: should be a valid number" in message
    assert "vae.notebook.epochs: should be greater than or equal to 1" in message
    assert "data.treshold: unknown key; did you mean threshold?" in message
    assert "data.threshold: is missing" in message
    assert "vae.notebook.schedule: should be 'constant' or 'cosine'" in message
    assert "compute.threads: should be a valid integer" in message
    assert message.startswith("6 things to mend in")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("compute:", "computer:", "computer: unknown key; did you mean compute?"),
        ("    batch_size: 64", "    batchsize: 64", "unknown key; did you mean batch_size?"),
        ("  samples: 100", "  samples: 95", "samples (95) must be a multiple of each k in iwae"),
        ("    lr: 0.0003", "    lr: .inf", "vae.notebook.lr: should be a finite number"),
        ("    lr: 0.0003", "    lr: true", "vae.notebook.lr: should be a valid number"),
        ("    hidden: [512, 256]   ", "    hidden: [512]   ", "notebook.hidden: List should have"),
        ("dataset: mnist", "dataset: emnist", "data.dataset: should be 'mnist', 'fashion-mnist'"),
        ("positive: [0.0, 2.5]", "positive: [2.5, 0.0]", "positive must be [inner radius, larger"),
        ("  notebook: ", "  No Book: ", "vae.No Book.[key]: "),
    ],
)  # fmt: skip
def test_a_fault_is_explained(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert expected in complaint(edited(tmp_path, (old, new)))


def test_numbers_are_read_as_dvc_reads_them(tmp_path: Path) -> None:
    path = edited(tmp_path, ("    lr: 0.0003", "    lr: 3e-4"))
    assert read(path)["vae"]["notebook"]["lr"] == 3e-4


def test_a_file_that_is_not_yaml_is_named_with_the_line(tmp_path: Path) -> None:
    message = complaint(edited(tmp_path, ("compute:", "compute: [")))
    assert "params.yaml is not YAML" in message
    assert "line" in message


def test_an_unknown_section_is_answered_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"no section vae\.tunde; there are: notebook, tuned"):
        load(Params, "vae.tunde", path=ROOT / "params.yaml")
