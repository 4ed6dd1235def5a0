"""Convolutional networks: sizes, values and gradients of torch's own convolutions, seeds, limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elbo.bounds import total_log_likelihood
from elbo.determinism import stream
from elbo.models.conv import CHUNK, Convolution, Upsampling, halved
from elbo.models.networks import flops
from elbo.models.vae import VAE, Design
from stages.schema import Params, Variant
from stages.train_vae import objective_of
from workflow.core.dataset import Dataset
from workflow.core.errors import UserError
from workflow.core.params import load

SHAPES = [(28, 28), (8, 8), (20, 32), (5, 64), (1, 7), (2, 1)]
# a picture's sides, odd and even, and the channels before and after
LAYERS = [((28, 28), 1, 3), ((7, 7), 4, 2), ((5, 64), 2, 1), ((1, 3), 3, 3)]


def conv_vae(
    shape: tuple[int, int] = (8, 8),
    channels: tuple[int, ...] = (3, 5),
    seed: int = 0,
    latent: int = 2,
    activation: str = "relu",
    posterior: str = "diagonal",
) -> VAE:
    architecture = {"kind": "conv", "channels": list(channels), "hidden": [7]}
    return VAE(shape, Design(latent, architecture, activation, posterior), stream(seed, "init"))


def as_pictures(channels_last: Tensor) -> Tensor:
    return channels_last.permute(0, 3, 1, 2)


@pytest.mark.parametrize("shape", SHAPES)
def test_pictures_of_any_size_give_latents_and_logits_and_every_weight_a_gradient(
    shape: tuple[int, int],
) -> None:
    convolutions = min(3, (max(shape) - 1).bit_length())
    model = conv_vae(shape, (3, 4, 5)[:convolutions], activation="tanh", latent=4)
    images = torch.rand(6, math.prod(shape), generator=stream(0, "images"))
    q = model.encoder(images)
    logits = model.decoder(q.sample(torch.ones(6, 4)))
    assert q.mean.shape == (6, 4)
    assert logits.shape == images.shape
    (logits.square().sum() + q.kl().sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(("shape", "inputs", "outputs"), LAYERS)
def test_convolutions_have_values_and_gradients_of_torchs_own(
    shape: tuple[int, int], inputs: int, outputs: int
) -> None:
    layer = Convolution(shape, inputs, outputs, stream(0, "layer")).double()
    x = torch.randn(2, *shape, inputs, dtype=torch.float64, generator=stream(0, "x")).requires_grad_()
    height, width = shape
    kernel = layer.weight.view(outputs, 4, 4, inputs).permute(0, 3, 1, 2)
    around = (1, 1 + width % 2, 1, 1 + height % 2)
    expected = F.conv2d(F.pad(as_pictures(x), around), kernel, layer.bias, stride=2)
    made = layer(x)
    assert made.shape[1:3] == halved(shape)
    assert_same(as_pictures(made), expected, [x, *layer.parameters()])


@pytest.mark.parametrize(("shape", "inputs", "outputs"), LAYERS)
def test_upsampling_has_values_and_gradients_of_torchs_own_transposed_convolution(
    shape: tuple[int, int], inputs: int, outputs: int
) -> None:
    layer = Upsampling(shape, inputs, outputs, stream(0, "layer")).double()
    x = torch.randn(2, *halved(shape), inputs, dtype=torch.float64, generator=stream(0, "x"))
    x.requires_grad_()
    height, width = shape
    kernel = layer.weight.view(4, 4, outputs, inputs).permute(3, 2, 0, 1).contiguous()
    expected = F.conv_transpose2d(as_pictures(x), kernel, layer.bias, stride=2, padding=1)
    made = layer(x)
    assert made.shape == (2, *shape, outputs)
    assert_same(as_pictures(made), expected[..., :height, :width], [x, *layer.parameters()])


def assert_same(made: Tensor, expected: Tensor, inputs: list[Tensor]) -> None:
    torch.testing.assert_close(made, expected)
    weights = torch.randn(expected.shape, dtype=expected.dtype, generator=stream(0, "weights"))
    gradients = (torch.autograd.grad((y * weights).sum(), inputs) for y in (made, expected))
    for mine, torchs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, torchs)


def test_single_precision_is_that_of_double_up_to_rounding() -> None:
    model = conv_vae((28, 28), (8, 16))
    images = (torch.rand(20, 784, generator=stream(0, "images")) < 0.2).float()
    single = model.decoder(model.encoder(images).mean)
    double = model.double()
    torch.testing.assert_close(
        single.double(), double.decoder(double.encoder(images.double()).mean), rtol=1e-4, atol=1e-6
    )


def test_first_weights_have_the_spread_of_torchs_own() -> None:
    convolution = Convolution((8, 8), 16, 32, stream(0, "a"))
    upsampling = Upsampling((8, 8), 16, 32, stream(0, "b"))
    pairs = [
        (convolution.weight, convolution.bias, nn.Conv2d(16, 32, 4).weight),
        (upsampling.weight, upsampling.bias, nn.ConvTranspose2d(16, 32, 4).weight),
    ]
    for weight, bias, torchs in pairs:
        bound = torchs.abs().max().item()  # of 8,192 uniform numbers
        assert weight.abs().max().item() == pytest.approx(bound, rel=0.01)
        assert weight.std().item() == pytest.approx(torchs.std().item(), rel=0.03)
        assert 0.5 * bound < bias.abs().max().item() < 1.01 * bound


def test_the_seed_decides_every_first_weight() -> None:
    first, again, other = (conv_vae(seed=seed).state_dict() for seed in (0, 0, 1))
    for name, tensor in first.items():
        assert tensor.equal(again[name])
        assert name.endswith("upsamplings.1.bias") or not tensor.equal(other[name]), name


def test_equal_training_steps_give_equal_bits() -> None:
    images = (torch.rand(64, 784, generator=stream(0, "images")) < 0.2).float()

    def trained() -> dict[str, Tensor]:
        model = conv_vae((28, 28), (8, 16), activation="gelu")
        for _ in range(2):
            q = model.encoder(images)
            loss = q.kl().sum() - total_log_likelihood(model.decoder(q.mean), images)
            parameters = list(model.parameters())
            with torch.no_grad():
                for parameter, gradient in zip(
                    parameters, torch.autograd.grad(loss, parameters), strict=True
                ):
                    parameter.sub_(gradient, alpha=1e-4)
        return model.state_dict()

    first, second = trained(), trained()
    assert all(tensor.equal(second[name]) for name, tensor in first.items())


def test_many_images_are_taken_in_parts_where_no_gradient_is_asked_for() -> None:
    model = conv_vae()
    images = torch.rand(2 * CHUNK + 3, 64, generator=stream(0, "images"))
    whole = model.decoder(model.encoder(images).mean)
    with torch.no_grad():
        parts = model.decoder(model.encoder(images).mean)
    torch.testing.assert_close(parts, whole)


def test_a_models_weights_and_settings_restore_it() -> None:
    model = conv_vae((5, 12), posterior="full", latent=3)
    restored = VAE.from_weights(model.state_dict(), model.about)
    z = torch.randn(4, 3, generator=stream(0, "z"))
    assert restored.decode(z).equal(model.decode(z))


def test_the_decoders_bias_adds_to_each_pixels_logit() -> None:
    model = conv_vae().requires_grad_(False)
    z, shift = torch.randn(4, 2, generator=stream(0, "z")), torch.arange(64.0)
    before = model.decoder(z)
    model.decoder.bias.copy_(shift)
    torch.testing.assert_close(model.decoder(z), before + shift)


def test_operations_are_counted_for_each_position_of_a_kernel() -> None:
    model = conv_vae((28, 28), (3, 5))
    dense = 2 * 49 * 5 * 7
    convolutions = 2 * 16 * (3 * 14 * 14 + 3 * 5 * 7 * 7)
    assert flops(model.encoder) == convolutions + dense + 2 * 2 * 7 * 2
    assert flops(model.decoder) == convolutions + dense + 2 * 7 * 2


def test_more_convolutions_than_a_picture_has_halvings_are_refused_before_training() -> None:
    (notebook,) = load(Params, "vae.notebook")
    architecture = {"kind": "conv", "channels": [4] * 5, "hidden": [8]}
    deep = Variant.model_validate(notebook.model_dump() | {"architecture": architecture})
    packed = np.zeros((4, 30), np.uint8)
    data = Dataset("own", "", (), (15, 16), {"train": packed, "test": packed}, {})
    message = r"vae\.deep\.architecture\.channels: 5 convolutions .* 15 x 16 pixels.*; use 4 or fewer"
    with pytest.raises(UserError, match=message):
        objective_of("deep", deep, data)


def test_a_single_pixel_takes_no_convolution() -> None:
    with pytest.raises(ValueError, match="use the kind mlp"):
        conv_vae((1, 1), (4,))
