"""The networks: layers of any depth, residual links, and models that are read back from their weights."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from elbo.determinism import stream
from elbo.models.networks import POSTERIORS, flops
from elbo.models.vae import VAE
from tests.support.models import small_vae
from workflow.core.weights import read_weights, write_weights

DEPTHS = {"one layer": [6], "equal widths": [6, 6, 6], "unlike widths": [12, 8, 8, 6, 4]}


def images(count: int, pixels: int) -> torch.Tensor:
    return (torch.rand(count, pixels, generator=stream(1, "images")) < 0.4).float()


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=stream(1, "noise"))


def test_residual_layers_add_their_input_or_a_linear_map_of_it() -> None:
    model = small_vae((3, 4), [6, 6, 4], stream(0, "init"), residual=True)
    x = images(5, 12)
    encoder: Any = model.encoder
    first = encoder.fc1(x).relu()
    second = encoder.fc2(first).relu() + first
    third = encoder.fc3(second).relu() + encoder.skip3(second)
    torch.testing.assert_close(model.encoder.features(x), third)
    z = noise(5, 2)
    decoder: Any = model.decoder
    first = decoder.fc1(z).relu()
    second = decoder.fc2(first).relu() + decoder.skip2(first)
    third = decoder.fc3(second).relu() + second
    torch.testing.assert_close(model.decoder(z), decoder.fc_out(third))


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("hidden", DEPTHS.values(), ids=DEPTHS)
def test_networks_of_any_depth_use_all_their_weights(hidden: list[int], residual: bool) -> None:
    model = small_vae((3, 5), hidden, stream(0, "init"), residual=residual, latent=3, activation="gelu")
    x, z = images(7, 15), noise(7, 3)
    q = model.encoder(x)
    logits = model.decoder(q.sample(z))
    assert (q.mean.shape, logits.shape) == ((7, 3), (7, 15))
    (logits.square().sum() + q.log_prob(z).sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
    widths = [15, *hidden]
    links = [pair for pair in itertools.pairwise(hidden) if residual and pair[0] != pair[1]]
    macs = sum(a * b for a, b in [*itertools.pairwise(widths), *links]) + hidden[-1] * 2 * 3
    assert flops(model.encoder) == 2 * macs


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("hidden", DEPTHS.values(), ids=DEPTHS)
def test_projected_images_give_their_product_with_the_logits(hidden: list[int], residual: bool) -> None:
    model = small_vae((3, 5), hidden, stream(0, "init"), residual=residual)
    x, z = images(7, 15), noise(7, 2)
    features, offset = model.decoder.project(x)
    found = (features * model.decoder.hidden(z)).sum(1) + offset
    torch.testing.assert_close(found.float(), (x * model.decoder(z)).sum(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(4, 4), (3, 5)])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("hidden", DEPTHS.values(), ids=DEPTHS)
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_a_model_is_read_back_from_its_weights_and_written_again_with_the_same_bytes(
    tmp_path: Path, posterior: str, hidden: list[int], residual: bool, shape: tuple[int, int]
) -> None:
    model = small_vae(
        shape, hidden, stream(0, "init"), residual=residual, posterior=posterior, latent=3, activation="silu"
    )
    about = {"dataset": "digits"}
    write_weights(tmp_path / "a.safetensors", model.state_dict(), model.about | about)
    again = VAE.from_weights(*read_weights(tmp_path / "a.safetensors"))
    write_weights(tmp_path / "b.safetensors", again.state_dict(), again.about | about)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert (again.shape, again.design) == (model.shape, model.design)
    x, z = images(6, model.pixels), noise(6, 3)
    assert torch.equal(again.encoder(x).sample(z), model.encoder(x).sample(z))
    assert torch.equal(again.decode(z), model.decode(z))


def test_a_plain_model_of_square_images_is_described_by_its_activation_alone() -> None:
    generator = stream(0, "init")
    for hidden in DEPTHS.values():
        assert small_vae((4, 4), hidden, generator, latent=5).about == {"activation": "relu"}
    others: list[dict[str, Any]] = [{"residual": True}, {"posterior": "full"}, {"posterior": "flow"}]
    for other in others:
        assert "design" in small_vae((4, 4), [6, 6], generator, **other).about
    assert "design" in small_vae((2, 8), [6, 6], generator).about


def test_weights_of_another_model_are_refused() -> None:
    model = small_vae((4, 4), [6, 6], stream(0, "init"), posterior="full")
    with pytest.raises(RuntimeError, match="fc_below"):
        VAE.from_weights(model.state_dict(), {"activation": "relu"})
