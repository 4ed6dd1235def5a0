"""The objectives: gradients by independent formulas, KL weights, sampled images, and resumed trainings."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from elbo.bounds import kl_to_prior, log_likelihood, log_normal, total_log_likelihood
from elbo.determinism import stream
from elbo.evaluation import bounds
from elbo.models.layers import Linear
from elbo.models.vae import VAE
from elbo.negative_elbo import NegativeElbo, TrainingImages
from elbo.negative_iwae import NegativeIwae
from elbo.optimization import Optimizer
from elbo.training import epochs
from stages.schema import Params, Variant
from stages.train_vae import objective_of
from tests.support.models import small_vae
from workflow.core.dataset import Dataset
from workflow.core.params import load

IMAGES, SHAPE, PIXELS = 60, (3, 4), 12


def settings(**changes: Any) -> Variant:
    (notebook,) = load(Params, "vae.notebook")
    return notebook.model_copy(update={"epochs": 4, "batch_size": 16, "lr": 0.01} | changes)


def images() -> Tensor:
    """Images of four kinds."""
    kinds = torch.rand(4, PIXELS, generator=stream(0, "kinds")).round() * 0.8 + 0.1
    kind = torch.randint(4, (IMAGES,), generator=stream(0, "kind"))
    return (torch.rand(IMAGES, PIXELS, generator=stream(0, "pixels")) < kinds[kind]).float()


def grey() -> Tensor:
    return torch.randint(0, 256, (IMAGES, PIXELS), generator=stream(0, "grey")).to(torch.uint8)


def model(**changes: Any) -> VAE:
    return small_vae(SHAPE, [16, 8], stream(1, "init"), **changes)


def test_training_takes_the_steps_of_the_plain_formula_bit_for_bit() -> None:
    """The layers in the order of their random draws, and the loss as the reference writes it."""
    chosen, x = settings(epochs=2), images()
    objective = NegativeElbo(model(), TrainingImages(x), {}, chosen.seed, 0.0)
    list(epochs(objective, chosen, Optimizer(objective.model, chosen, IMAGES)))

    init = stream(1, "init")
    e1, e2, loc, log_scale = (Linear(*pair, init) for pair in ((PIXELS, 16), (16, 8), (8, 2), (8, 2)))
    d1, d2, out = (Linear(*pair, init) for pair in ((2, 8), (8, 16), (16, PIXELS)))
    layers = torch.nn.ModuleList([e1, e2, loc, log_scale, d1, d2, out])
    optimizer = Optimizer(layers, chosen, IMAGES)
    for epoch in (1, 2):
        noise = torch.randn(IMAGES, 2, generator=stream(chosen.seed, "posterior", epoch))
        order = torch.randperm(IMAGES, generator=stream(chosen.seed, "shuffle", epoch))
        for index, eps in zip(order.split(16), noise.split(16), strict=True):
            h = e2(e1(x[index]).relu()).relu()
            mean, log_sigma = loc(h), log_scale(h)
            logits = out(d2(d1(mean + eps * log_sigma.exp()).relu()).relu())
            kl = kl_to_prior(mean, log_sigma).sum()
            optimizer.step((kl - total_log_likelihood(logits, x[index])) / len(index))
    for found, expected in zip(objective.model.parameters(), layers.parameters(), strict=True):
        assert torch.equal(found, expected)


def gradients(vae: VAE, loss: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*vae.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for name, parameter, gradient in zip(names, parameters, found, strict=True)
    }


def plain_iwae(vae: VAE, x: Tensor, noise: Tensor) -> Tensor:
    """−IWAE_k with the gradient of its formula, (k, N, D) of noise."""
    z, log_q = vae.encoder(x).sample_and_log_prob(noise)
    logits = vae.decoder(z.flatten(0, 1)).unflatten(0, z.shape[:2])
    log_weights = log_likelihood(logits, x) + log_normal(z) - log_q
    return (math.log(len(noise)) - log_weights.logsumexp(0)).mean()


@pytest.mark.parametrize("posterior", ["diagonal", "full"])
def test_iwae_gradients_are_plain_for_the_decoder_and_unbiased_with_far_less_variance_for_the_encoder(
    posterior: str,
) -> None:
    k, draws, x = 32, 100, images()[:10]
    vae = model(posterior=posterior)
    with torch.no_grad():  # the exact posterior is nearly q, and the prior: there the variance is smallest
        vae.decoder.get_parameter("fc_out.weight").mul_(0.3)
        for name in ("fc_loc", "fc_log_scale"):
            vae.encoder.get_parameter(f"{name}.weight").mul_(0.3)
            vae.encoder.get_parameter(f"{name}.bias").mul_(0.3)
    objective = NegativeIwae(vae, TrainingImages(x), {}, 0, 0.0, k=k)
    ours: list[Tensor] = []
    plain: list[Tensor] = []
    for number in range(draws):
        loss, _ = objective.epoch(number)(torch.arange(len(x)), 0)
        noise = torch.randn(k, len(x), 2, generator=stream(0, "posterior", number))
        found, expected = gradients(vae, loss), gradients(vae, plain_iwae(vae, x, noise))
        if number == 0:
            for name in [name for name in found if name.startswith("decoder.")]:
                torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)
        for gradient, kept in ((found, ours), (expected, plain)):
            kept.append(torch.cat([gradient[name].flatten() for name in gradient if "encoder." in name]))
    one, other = torch.stack(ours).double(), torch.stack(plain).double()
    difference = one - other
    moving = difference.std(0) > 0
    error = difference.std(0)[moving] / draws**0.5
    assert (difference.mean(0)[moving] / error).abs().max() < 5
    assert (difference.mean(0)[~moving] == 0).all()
    assert one.var(0).sum() < 0.1 * other.var(0).sum()


def test_where_the_posterior_is_exact_the_iwae_gradient_of_the_encoder_is_zero() -> None:
    """Each draw of it, and not only the mean: log p(x, z) − log q(z|x) does not depend on z."""
    vae = model()
    with torch.no_grad():
        vae.decoder.get_parameter("fc_out.weight").zero_()
        for name in ("fc_loc", "fc_log_scale"):
            vae.encoder.get_parameter(f"{name}.weight").zero_()
            vae.encoder.get_parameter(f"{name}.bias").zero_()
    x = images()
    loss, sums = NegativeIwae(vae, TrainingImages(x), {}, 0, 0.0, k=5).epoch(1)(torch.arange(IMAGES), 0)
    for name, gradient in gradients(vae, loss).items():
        if name.startswith("encoder."):
            assert gradient.abs().max() < 1e-6, name
    log_p = log_likelihood(vae.decoder.bias.expand(IMAGES, -1), x).sum()
    torch.testing.assert_close(-loss * IMAGES, log_p)
    torch.testing.assert_close(sums, torch.stack([log_p, torch.zeros(())]), rtol=1e-5, atol=1e-3)


def test_iwae_with_one_sample_has_the_gradient_of_the_elbo() -> None:
    x = images()[:10]
    vae = model()
    objective = NegativeIwae(vae, TrainingImages(x), {}, 0, 0.0, k=1)
    many = x.repeat(400, 1)
    found = gradients(vae, dataclasses.replace(objective, train=TrainingImages(many)).epoch(1)(
        torch.arange(len(many)), 0)[0])  # fmt: skip
    elbo = NegativeElbo(vae, TrainingImages(many), {}, 0, 0.0)
    expected = gradients(vae, elbo.epoch(1)(torch.arange(len(many)), 0)[0])
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() < 0.15 * gradient.norm() + 0.02, name


def test_training_with_iwae_raises_its_bound_more_than_training_with_the_elbo() -> None:
    """On images of which a Gaussian posterior leaves much unsaid; the mean over seeds."""
    x, k = images(), 10
    gains = []
    for seed in range(3):
        reached = []
        for kind in (NegativeElbo, NegativeIwae):
            chosen = settings(seed=seed, epochs=40, lr=0.01)
            vae = small_vae(SHAPE, [16, 8], stream(seed, "init"))
            own: dict[str, Any] = {"k": k} if kind is NegativeIwae else {}
            objective = kind(vae, TrainingImages(x), {}, seed, 0.0, **own)
            list(epochs(objective, chosen, Optimizer(vae, chosen, IMAGES)))
            reached.append(bounds(vae, x, 1000, [k], stream(0, "bounds")).iwae[k].mean().item())
        gains.append(reached[1] - reached[0])
    assert np.mean(gains) > 0.2, gains


@pytest.mark.parametrize("posterior", ["diagonal", "flow"])
def test_beta_weighs_the_kl_of_the_loss_and_not_the_figures(posterior: str) -> None:
    x, index = images(), torch.arange(16)
    vae = model(posterior=posterior)
    plain = NegativeElbo(vae, TrainingImages(x), {}, 0, 0.0)
    objective = dataclasses.replace(plain, beta=0.5, rising=2.0)
    # a weight by the share of an epoch that is over
    for number, seen, weight in ((1, 0, 0.0), (1, 30, 0.125), (2, 0, 0.25), (3, 0, 0.5), (4, 40, 0.5)):
        loss, sums = objective.epoch(number)(index, seen if seen < 40 else 0)
        if seen == 40:
            assert objective.weight(number - 1 + seen / IMAGES) == weight
        reconstruction, kl = sums.tolist()
        assert loss.item() == pytest.approx((weight * kl - reconstruction) / 16, rel=1e-5)
        same, plain_sums = plain.epoch(number)(index, seen if seen < 40 else 0)
        assert torch.equal(sums, plain_sums)
        assert same.item() == pytest.approx((kl - reconstruction) / 16, rel=1e-5)
    assert objective.figures(torch.tensor([-5.0, 2.0])) == {"elbo": -7.0, "reconstruction": -5.0, "kl": 2.0}


def test_dynamic_images_are_sampled_anew_each_epoch_by_their_intensities() -> None:
    intensities = grey()
    intensities[:, 0], intensities[:, 1] = 0, 255
    train = TrainingImages((intensities > 127).float(), intensities, seed=3)
    first = train.epoch(1)
    assert set(first.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(train.epoch(1), first)
    assert not torch.equal(train.epoch(2), first)
    assert not torch.equal(dataclasses.replace(train, seed=4).epoch(1), first)
    count = 400
    mean = torch.stack([train.epoch(number) for number in range(count)]).mean(0)
    chance = intensities / 255
    assert (mean[:, 0] == 0).all()
    assert (mean[:, 1] == 1).all()
    error = (chance * (1 - chance) / count).sqrt()
    assert ((mean - chance).abs() <= 5 * error).all()
    assert abs((mean - chance).mean().item()) < 4 * error.square().mean().sqrt() / mean.numel() ** 0.5


def objective_for(kind: str) -> NegativeElbo:
    train = TrainingImages(images(), grey() if kind == "dynamic" else None, seed=3)
    vae = model(posterior=kind if kind in ("full", "flow") else "diagonal")
    held_out = {"test": images()[:20]}
    if kind == "iwae":
        return NegativeIwae(vae, train, held_out, 5, 0.1, k=4)
    return NegativeElbo(vae, train, held_out, 5, 0.1, rising=3.0 if kind == "warm-up" else 0.0)


@pytest.mark.parametrize("kind", ["warm-up", "dynamic", "iwae", "full", "flow"])
def test_a_resumed_training_gives_the_same_bits(kind: str) -> None:
    chosen = settings(averaging=0.9)
    whole = objective_for(kind)
    expected = list(epochs(whole, chosen, Optimizer(whole.model, chosen, IMAGES)))
    first = objective_for(kind)
    optimizer = Optimizer(first.model, chosen, IMAGES)
    running = epochs(first, chosen, optimizer)
    before = [next(running).row, next(running).row]  # two of four epochs: the warm-up takes three
    state = {name: tensor.clone() for name, tensor in optimizer.state().items()}
    second = objective_for(kind)
    optimizer = Optimizer(second.model, chosen, IMAGES)
    optimizer.load(state)
    after = [epoch.row for epoch in epochs(second, chosen, optimizer)]
    assert before + after == [epoch.row for epoch in expected]
    for one, other in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_datas_log_odds_as_output_bias_give_the_entropy_of_the_pixels() -> None:
    x = images()
    frequency = x.mean(0).double().clamp(1e-9, 1 - 1e-9)
    entropy = -(frequency * frequency.log() + (1 - frequency) * (1 - frequency).log()).sum().item()
    rows = {split: np.packbits(x.numpy() > 0, axis=1) for split in ("train", "test")}
    labels = {split: np.zeros(len(features), np.uint8) for split, features in rows.items()}
    data = Dataset("digits", "", ("0",), SHAPE, rows, labels)
    for output_bias in ("data", "zero"):
        vae = objective_of("mine", settings(output_bias=output_bias), data).model
        with torch.no_grad():
            vae.decoder.get_parameter("fc_out.weight").zero_()
            loss = -log_likelihood(vae.decoder(torch.zeros(IMAGES, 2)), x).mean().item()
        assert (loss < entropy + 0.01) == (output_bias == "data")
