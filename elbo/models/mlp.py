"""Fully connected networks of any depth; with two hidden layers they are the reference's."""

from collections.abc import Sequence

from torch import Generator, Tensor

from elbo.models import networks
from elbo.models.layers import Linear, product
from elbo.models.networks import Hidden, area


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
