"""Training: what an epoch reports, the effect of settings and of the seed."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli

from elbo import training
from elbo.determinism import stream
from elbo.models import classifier
from elbo.models.layers import drop
from elbo.models.vae import VAE
from elbo.negative_elbo import NegativeElbo, TrainingImages
from elbo.negative_log_likelihood import NegativeLogLikelihood
from elbo.optimization import Diverged, Optimizer, batches, learning_rate
from stages.schema import Params, Variant
from tests.support.models import small_vae
from workflow.core.params import load


def settings(**changes: Any) -> Variant:
    (notebook,) = load(Params, "vae.notebook")
    small = {"epochs": 2, "batch_size": 16}
    return notebook.model_copy(update=small | changes)


@pytest.fixture
def images() -> torch.Tensor:
    """Images of two kinds, so that a model can learn something."""
    kind = torch.rand(200, 1, generator=stream(0, "kind")) < 0.5
    pixels = torch.where(kind, torch.tensor([0.9, 0.1]).repeat(8), torch.tensor([0.1, 0.9]).repeat(8))
    return (torch.rand(200, 16, generator=stream(0, "pixels")) < pixels).float()


def train(images: torch.Tensor, **changes: Any) -> tuple[VAE, list[training.Epoch]]:
    chosen = settings(**changes)
    model = small_vae((4, 4), (12, 6), stream(chosen.seed, "init"), activation=chosen.activation)
    held_out = {"test": images[:50]}
    objective = NegativeElbo(model, TrainingImages(images), held_out, chosen.seed, chosen.input_dropout)
    return model, list(epochs_of(objective, chosen))


def epochs_of(objective: Any, chosen: Any) -> Iterator[training.Epoch]:
    return training.epochs(objective, chosen, Optimizer(objective.model, chosen, objective.size))


def test_training_raises_the_elbo_and_reports_its_terms(images: torch.Tensor) -> None:
    _, epochs = train(images, epochs=30, lr=0.01)
    assert [epoch.epoch for epoch in epochs] == list(range(1, 31))
    first, last = epochs[0], epochs[-1]
    assert last.splits["train"]["elbo"] > first.splits["train"]["elbo"] + 1
    assert last.splits["test"]["elbo"] > first.splits["test"]["elbo"] + 1
    for figures in last.splits.values():
        assert figures["elbo"] == pytest.approx(figures["reconstruction"] - figures["kl"])
    assert list(last.row)[:2] == ["epoch", "train_elbo"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "sgd", "lr": 0.001},
        {"averaging": 0.9, "schedule": "cosine", "warmup": 0.1},
        {"input_dropout": 0.3, "clip_norm": 1.0, "weight_decay": 0.1, "activation": "gelu"},
    ],
)
def test_equal_settings_give_equal_weights_whatever_else_draws_randomness(
    images: torch.Tensor, changes: dict[str, Any]
) -> None:
    first, _ = train(images, **changes)
    torch.manual_seed(12345)  # no training uses the global stream
    torch.rand(7)
    second, _ = train(images, **changes)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    third, _ = train(images, **(changes | {"seed": 306}))
    assert not torch.equal(next(first.parameters()), next(third.parameters()))


def test_the_train_elbo_is_the_mean_over_minibatches_before_their_steps(
    images: torch.Tensor,
) -> None:
    chosen = settings(epochs=1, lr=1e-12)
    model = small_vae((4, 4), (12, 6), stream(chosen.seed, "init"))
    (epoch,) = epochs_of(NegativeElbo(model, TrainingImages(images), {}, chosen.seed, 0.0), chosen)
    noise = torch.randn(len(images), 2, generator=stream(chosen.seed, "posterior", 1))
    order = torch.randperm(len(images), generator=stream(chosen.seed, "shuffle", 1))
    q = model.encoder(images[order])
    expected = Bernoulli(logits=model.decoder(q.loc + noise * q.scale)).log_prob(images[order]).sum(1).mean()
    assert epoch.splits["train"]["reconstruction"] == pytest.approx(expected.item(), abs=1e-3)


def test_a_diverging_training_raises(images: torch.Tensor) -> None:
    with pytest.raises(Diverged, match="epoch"):
        train(images, lr=1e6, optimizer="sgd")


@pytest.mark.parametrize("averaging", [0.0, 0.5])
def test_a_training_that_diverges_in_its_last_step_raises_like_any_other(
    images: torch.Tensor, averaging: float
) -> None:
    last = {"epochs": 1, "batch_size": 200, "optimizer": "sgd", "lr": 1e30, "averaging": averaging}
    with pytest.raises(Diverged, match="test elbo of epoch 1 is"):
        train(images, **last)
    model = nn.Linear(1, 1, bias=False)
    loss = SimpleNamespace(
        size=16,
        epoch=lambda _: lambda *_: (1e30 * model.weight.sum(), torch.zeros(2)),
        figures=lambda _: {"loss": 0.0},
        scores=lambda _: {},
        model=model,
    )
    with pytest.raises(Diverged, match="a weight after epoch 1 is not finite"):
        list(epochs_of(loss, settings(**last)))


def test_averaged_weights_are_scored_and_kept_but_not_trained_on() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 0.0)
    optimizer = Optimizer(model, settings(optimizer="sgd", lr=1.0, averaging=0.5), examples=16)
    means = [0.0]
    for step in range(1, 3):
        optimizer.step(-model.weight.sum())  # gradient -1: the weight becomes 1, then 2
        means.append(means[-1] + max(0.5, 1 / (step + 1)) * (step - means[-1]))
    with optimizer.averaged():
        assert model.weight.item() == pytest.approx(means[-1])
    assert model.weight.item() == 2.0
    optimizer.swap_average()
    assert model.weight.item() == pytest.approx(means[-1])


def test_the_schedule_warms_up_and_falls_along_a_cosine() -> None:
    chosen = settings(lr=1.0, schedule="cosine", warmup=0.1)
    rates = [learning_rate(chosen, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(rates[9])
    assert rates[50] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.99)))
    constant = settings(lr=0.3, schedule="constant", warmup=0.0)
    assert {learning_rate(constant, step, 100) for step in range(100)} == {0.3}


def test_batches_contain_every_index_once_and_a_full_batch_keeps_its_order() -> None:
    found = torch.cat(list(batches(10, 3, stream(0, "shuffle"))))
    assert sorted(found.tolist()) == list(range(10))
    assert found.tolist() != list(range(10))
    assert [batch.tolist() for batch in batches(4, 9, stream(0, "shuffle"))] == [[0, 1, 2, 3]]


def test_dropout_drops_its_share_and_nothing_outside_training() -> None:
    x = torch.ones(100, 100)
    dropped = drop(x, 0.2, stream(0, "dropout"))
    assert (dropped == 0).float().mean().item() == pytest.approx(0.2, abs=0.02)
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.02)
    assert set(drop(x, 0.2, stream(0, "dropout"), rescale=False).unique().tolist()) == {0.0, 1.0}
    assert drop(x, 0.2, None) is x


def test_streams_differ_by_seed_purpose_and_epoch_and_are_repeatable() -> None:
    draws = {
        torch.rand(1, generator=stream(*name)).item()
        for name in [(1, "a", 0), (2, "a", 0), (1, "b", 0), (1, "a", 1)]
    }
    assert len(draws) == 4
    assert torch.rand(1, generator=stream(1, "a")).item() in draws


def test_a_classifier_of_several_classes_learns_and_gives_probabilities() -> None:
    inputs = torch.randn(300, 2, generator=stream(0, "inputs"))
    labels = (inputs[:, 0] > 0).long() + (inputs[:, 1] > 0).long()
    (chosen,) = load(Params, "classifier.images")
    chosen = chosen.model_copy(update={"epochs": 60, "batch_size": 30, "lr": 0.01})
    model = classifier.Classifier(2, [16], 3, "relu", stream(0, "init"))
    pair = (inputs, labels)
    objective = NegativeLogLikelihood(model, pair, {"test": pair}, chosen.seed, 0.0, 0.0)
    epochs = list(epochs_of(objective, chosen))
    assert epochs[-1].splits["test"]["accuracy"] > 0.9
    probabilities = model.probabilities(inputs)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(300))
    again = classifier.Classifier.from_weights(model.state_dict(), {"activation": "relu"})
    torch.testing.assert_close(again.probabilities(inputs), probabilities)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize(
    ("name", "torch_optimizer"),
    [
        ("sgd", torch.optim.SGD),
        ("adam", lambda *a, **settings: torch.optim.AdamW(*a, fused=True, **settings)),
    ],
)
def test_a_step_equals_torchs_optimizer_bit_for_bit(name: str, torch_optimizer: Any, decay: float) -> None:
    x = torch.rand(16, 5, generator=stream(0, "x"))
    nets = [nn.Linear(5, 3), nn.Linear(5, 3)]
    nets[1].load_state_dict(nets[0].state_dict())
    optimizer = Optimizer(
        nets[0], settings(optimizer=name, weight_decay=decay, lr=0.01, schedule="constant"), 160
    )
    expected = torch_optimizer(nets[1].parameters(), lr=0.01, weight_decay=decay)
    for _ in range(10):
        optimizer.step(nets[0](x).square().mean())
        expected.zero_grad()
        nets[1](x).square().mean().backward()
        expected.step()
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_training_does_not_import_torchs_compiler() -> None:
    """It would cost each training two seconds."""
    script = (
        "import sys; from workflow.core import processor; processor.apply()\n"
        "from tests.elbo.test_training import train, stream; import torch\n"
        "train(torch.rand(32, 16, generator=stream(0, 'x')).round())\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
