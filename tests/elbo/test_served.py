"""Served models: what torch.export writes gives the numbers of the model, for any number of rows."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch

from elbo.determinism import stream
from elbo.models.served import networks
from elbo.models.vae import VAE, Design

MLP = {"kind": "mlp", "hidden": [8, 8, 6], "residual": True}
CONV = {"kind": "conv", "channels": [3, 4], "hidden": [8]}


@pytest.mark.parametrize(("architecture", "posterior"), [(MLP, "flow"), (CONV, "full")])
def test_an_exported_model_gives_the_models_numbers(architecture: dict[str, Any], posterior: str) -> None:
    design = Design(3, architecture, "gelu", posterior)
    model = VAE((5, 12), design, stream(0, "init"))
    exported = networks(model.state_dict(), model.about)
    expected = {"vae-encoder": lambda x: model.encoder(x).mean, "vae-decoder": model.decode}
    assert {name: example.shape[1] for name, (_, example) in exported.items()} == {
        "vae-encoder": 60,
        "vae-decoder": 3,
    }
    for name, (network, example) in exported.items():
        program = torch.export.export(network, (example,), dynamic_shapes=({0: torch.export.Dim("rows")},))
        file = io.BytesIO()
        torch.export.save(program, file)
        assert b"mkldnn" not in file.getvalue()  # a private operator, which another version may lack
        file.seek(0)
        loaded = torch.export.load(file).module()
        for rows in (1, 5, 64, 200):
            given = torch.rand(rows, example.shape[1], generator=stream(rows, name)).round()
            with torch.no_grad():
                torch.testing.assert_close(loaded(given), expected[name](given), rtol=1e-4, atol=1e-5)
