"""A resumed training equals an uninterrupted one bit for bit; damaged checkpoints are refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from elbo import training
from elbo.determinism import stream
from elbo.models import classifier
from elbo.negative_elbo import NegativeElbo, TrainingImages
from elbo.negative_log_likelihood import NegativeLogLikelihood
from elbo.optimization import Optimizer
from stages.schema import Params
from tests.support.models import small_vae
from workflow.core.params import load
from workflow.runs import checkpoints
from workflow.runs.checkpoints import Checkpoints, read, write
from workflow.runs.identity import Inputs

EPOCHS = 6
INPUTS = Inputs("train_vae@notebook", {"data/binarized.npz": "00"}, {"vae.notebook.lr": 0.1}, {}, ())


def small_settings(family: str, **changes: Any) -> Any:
    (base,) = load(Params, "vae.notebook" if family == "vae" else "classifier.images")
    return base.model_copy(update={"epochs": EPOCHS, "batch_size": 16, "lr": 0.05} | changes)


def start_training(family: str, settings: Any) -> tuple[torch.nn.Module, Optimizer, Iterator[Any]]:
    """A new model for 60 images, its optimizer, and the iterator of its epochs."""
    x = (torch.rand(60, 16, generator=stream(0, "pixels")) < 0.5).float()
    init = stream(settings.seed, "init")
    if family == "vae":
        vae = small_vae((4, 4), (12, 6), init, activation=settings.activation)
        optimizer = Optimizer(vae, settings, len(x))
        elbo = NegativeElbo(vae, TrainingImages(x), {"test": x[:9]}, settings.seed, settings.input_dropout)
        return vae, optimizer, training.epochs(elbo, settings, optimizer)
    y = torch.arange(60) % 10
    model = classifier.Classifier(16, (12,), 10, settings.activation, init)
    optimizer = Optimizer(model, settings, len(x))
    dropout = settings.input_dropout, settings.dropout
    objective = NegativeLogLikelihood(model, (x, y), {"test": (x, y)}, settings.seed, *dropout)
    return model, optimizer, training.epochs(objective, settings, optimizer)


@pytest.mark.parametrize("family", ["vae", "classifier"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"schedule": "cosine", "warmup": 0.3, "weight_decay": 0.1},
        {"averaging": 0.9, "clip_norm": 0.5, "input_dropout": 0.2},
    ],
)
@pytest.mark.parametrize("stop", [1, 4, EPOCHS])
def test_a_resumed_training_equals_an_uninterrupted_one_bit_for_bit(
    family: str, optimizer: str, changes: dict[str, Any], stop: int, tmp_path: Path
) -> None:
    settings = small_settings(family, optimizer=optimizer, **changes)
    whole, _, epochs = start_training(family, settings)
    rows = [epoch.row for epoch in epochs]
    _, first, epochs = start_training(family, settings)
    before = [next(epochs).row for _ in range(stop)]
    path = write(tmp_path, "digest", before, first.state())
    state, kept = read(path, "digest")
    model, second, epochs = start_training(family, settings)
    second.load(state)
    resumed = kept + [epoch.row for epoch in epochs]
    # in the order of their keys, too, which is that of the table's columns
    assert [list(row.items()) for row in resumed] == [list(row.items()) for row in rows]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda state: state | {"taken": torch.tensor(3)}, "end of an epoch"),
        (lambda state: state | {"taken": torch.tensor(-4)}, "end of an epoch"),
        (lambda state: state | {"taken": torch.tensor(4000)}, "end of an epoch"),
        (lambda state: state | {"parameter.0": torch.zeros(3)}, "another model"),
        (lambda state: state | {"parameter.0": state["parameter.0"].double()}, "another model"),
        (lambda state: state | {"average.0": torch.zeros(3)}, "another model"),
        (lambda state: {name: state[name] for name in state if name != "exp_avg.2"}, "another model"),
    ],
)
def test_a_state_of_another_training_is_refused_and_changes_nothing(change: Any, fault: str) -> None:
    settings = small_settings("vae")
    _, first, epochs = start_training("vae", settings)
    next(epochs)
    model, second, _ = start_training("vae", settings)
    before = [tensor.clone() for tensor in model.parameters()]
    with pytest.raises(ValueError, match=fault):
        second.load(change(first.state()))
    assert second.epochs_done == 0
    assert all(map(torch.equal, before, model.parameters()))


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkpoints:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setattr(checkpoints, "MAX_SHARE", 1e9)
    return Checkpoints(INPUTS)


def fill(kept: Checkpoints, epochs: int) -> list[Path]:
    rows = []
    for epoch in range(1, epochs + 1):
        rows.append({"epoch": epoch, "train_elbo": -1.5 / epoch})
        kept.save(rows, lambda: {"taken": torch.tensor(len(rows))})
    return sorted(kept.folder.iterdir())


def test_two_checkpoints_are_kept_and_the_newest_is_used(kept: Checkpoints) -> None:
    names = [path.name[:6] for path in fill(kept, 5)]
    assert names == ["000004", "000005"]
    states: list[Any] = []
    assert [row["epoch"] for row in kept.resume(states.append)] == [1, 2, 3, 4, 5]
    assert states[0]["taken"] == 5
    kept.clear()
    assert not kept.folder.exists()


def test_the_previous_checkpoint_is_used_if_the_newest_is_damaged(
    kept: Checkpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    one, newest = fill(kept, 5)
    newest.write_bytes(newest.read_bytes()[:-1])
    assert len(kept.resume(lambda _: None)) == 4
    assert f"{newest.name} is damaged" in capsys.readouterr().err
    aside = kept.folder.parent / "damaged"
    assert [path.name.partition("-")[2] for path in aside.iterdir()] == [newest.name]
    one.write_bytes(b"")
    assert kept.resume(lambda _: None) == []
    assert not list(kept.folder.iterdir())


def test_a_checkpoint_of_other_inputs_or_that_the_model_refuses_is_set_aside(kept: Checkpoints) -> None:
    rows = [{"epoch": 1}]
    write(kept.folder, "another digest", rows, {"taken": torch.tensor(1)})
    assert kept.resume(lambda _: None) == []
    write(kept.folder, INPUTS.digest, rows, {"taken": torch.tensor(1)})

    def refuse(_: Any) -> None:
        raise ValueError("is of another model")

    assert kept.resume(refuse) == []
    assert len(list((kept.folder.parent / "damaged").iterdir())) == 2


def test_a_checkpoint_whose_rows_are_no_list_is_set_aside(kept: Checkpoints) -> None:
    write(kept.folder, INPUTS.digest, "", {"taken": torch.tensor(1)})  # type: ignore[arg-type]
    assert kept.resume(lambda _: None) == []
    assert len(list((kept.folder.parent / "damaged").iterdir())) == 1


def test_short_epochs_get_few_checkpoints(kept: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "MAX_SHARE", 1e-9)
    assert [path.name[:6] for path in fill(kept, 50)] == ["000001"]


def test_unwritable_checkpoints_are_reported_once(
    kept: Checkpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    kept.folder.parent.write_text("a file where the folder should be")
    with pytest.raises(NotADirectoryError):
        list((kept.folder / "x").iterdir())
    for _ in range(3):
        kept.save([{"epoch": 1}], lambda: {"taken": torch.tensor(1)})
    assert capsys.readouterr().err.count("no checkpoints can be written") == 1


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [{"epoch": 1, "train_elbo": -200.5}, {"epoch": 2, "train_elbo": -190.25}]
    return write(
        tmp_path_factory.mktemp("good"), "digest", rows, {"w": torch.arange(6.0), "taken": torch.tensor(2)}
    )


@examples(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.integers(0, 10**6), value=st.integers(1, 255), cut=st.integers(0, 10**6), rename=st.booleans()
)
def test_no_changed_or_truncated_file_is_accepted_as_a_checkpoint(
    good: Path, tmp_path: Path, place: int, value: int, cut: int, rename: bool
) -> None:
    content = bytearray(good.read_bytes())
    whole = bytes(content)
    content[place % len(content)] ^= value
    changed = bytes(content[: len(content) - cut])
    name = good.name
    if rename:  # an adversary who names the file by its new content
        name = f"000002-{hashlib.sha256(changed).hexdigest()[:32]}.safetensors"
    path = tmp_path / name
    path.write_bytes(changed)
    try:
        state, rows = read(path, "digest")
    except ValueError:
        return
    # a file named by its own content may hold other numbers, but must be readable
    assert rename
    assert changed != whole
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(isinstance(tensor, torch.Tensor) for tensor in state.values())


@pytest.mark.parametrize(
    "about",
    [
        None,
        "",
        "[]",
        "{}",
        json.dumps({"format": 1, "digest": "digest", "rows": 7}),
        "{" * 5000,
        "[" * 100_000,
        json.dumps({"format": 1, "digest": "digest", "rows": ["epoch"]}),
    ],
)
def test_a_safetensors_file_that_is_no_checkpoint_is_refused(tmp_path: Path, about: str | None) -> None:
    metadata = None if about is None else {"about": about}
    content = safetensors.torch.save({"w": torch.zeros(2)}, metadata=metadata)
    path = tmp_path / f"000001-{hashlib.sha256(content).hexdigest()[:32]}.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not a checkpoint"):
        read(path, "digest")
