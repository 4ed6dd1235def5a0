"""Fully connected networks of any depth; with two hidden layers they are the reference's."""

import itertools
from collections.abc import Sequence

from torch import Generator, Tensor, nn

from elbo.models import networks
from elbo.models.layers import Activation, Linear, product
from elbo.models.networks import area


class Hidden(nn.Module):
    """Mixed into a network: hidden layers `fc1`, `fc2`, … with its activation.

    With `residual`, each layer but the first adds its input to its output (He and others 2016); a layer
    `skip2`, … maps the input to the new width where that differs.
    """

    activation: Activation

    def add_hidden(self, widths: Sequence[int], residual: bool, generator: Generator) -> None:
        self.depth, self.residual = len(widths) - 1, residual
        for number, (inputs, outputs) in enumerate(itertools.pairwise(widths), 1):
            setattr(self, f"fc{number}", Linear(inputs, outputs, generator))
            if residual and number > 1:
                skip = nn.Identity() if inputs == outputs else Linear(inputs, outputs, generator)
                setattr(self, f"skip{number}", skip)

    def run_hidden(self, h: Tensor) -> Tensor:
        """(N, first width) to (N, last width)."""
        for number in range(1, self.depth + 1):
            new = self.activation(getattr(self, f"fc{number}")(h))
            h = new + getattr(self, f"skip{number}")(h) if self.residual and number > 1 else new
        return h


class Encoder(networks.Encoder, Hidden):
    """Hidden layers from the pixels on."""

    def __init__(
        self,
        shape: Sequence[int],
        activation: str,
        generator: Generator,
        *,
        hidden: Sequence[int],
        residual: bool,
    ) -> None:
        super().__init__(activation)
        self.width = hidden[-1]
        self.add_hidden([area(shape), *hidden], residual, generator)

    def features(self, x: Tensor) -> Tensor:
        return self.run_hidden(x)


class Decoder(networks.Decoder, Hidden):
    """The encoder's hidden layers in reverse order, then an affine one to the logits."""

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        activation: str,
        generator: Generator,
        *,
        hidden: Sequence[int],
        residual: bool,
    ) -> None:
        super().__init__(activation)
        self.add_hidden([latent, *reversed(hidden)], residual, generator)
        self.fc_out = Linear(hidden[0], area(shape), generator)

    @property
    def bias(self) -> Tensor:
        return self.fc_out.bias

    def hidden(self, z: Tensor) -> Tensor:
        return self.run_hidden(z)

    def output(self, hidden: Tensor) -> Tensor:
        return self.fc_out(hidden)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x W and x·b of the last layer's W and b."""
        return product(x, self.fc_out.weight.t()), (x @ self.fc_out.bias).double()
