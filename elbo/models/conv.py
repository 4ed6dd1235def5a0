"""Convolutional encoder and decoder of pictures of any height and width.

A convolution here copies its patches into a matrix, and one product of `elbo.models.layers` does the rest; a
transposed convolution does the same backwards. So its bits are those of that product, which under
`compute.portable` are the same on any x86-64 processor with AVX2, and of copies and sums in a fixed order.
torch's conv2d, whose kernels depend on more than these settings, was a fifth faster at most (28 x 28 pixels).
Pictures lie channels last, (N, height, width, channels), so that each row of a patch is one copy.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.autograd.function import once_differentiable

from elbo.models import networks
from elbo.models.layers import Linear, affine
from elbo.models.networks import Hidden, area

Shape = tuple[int, int]
KERNEL = 4  # twice the stride, so that each pixel lies in equally many patches: no checkerboard
TAPS = KERNEL**2
CHUNK = 64  # images


def halved(shape: Shape) -> Shape:
    """The height and width after a convolution of stride 2."""
    height, width = shape
    return (height + 1) // 2, (width + 1) // 2


def most_convolutions(shape: Shape) -> int:
    """How many convolutions of stride 2 find more than one pixel: 5 for 28 x 28 (14, 7, 4, 2, 1)."""
    return (max(shape) - 1).bit_length()


def patches(x: Tensor) -> Tensor:
    """Patches of 4 x 4 pixels at stride 2 with one pixel of zeros around: (N, H, W, C) to (N·h·w, 16·C)."""
    count, height, width, channels = x.shape
    h, w = halved((height, width))
    x = F.pad(x, (0, 0, 1, 2 * w + 1 - width, 1, 2 * h + 1 - height))
    x = x.unfold(1, KERNEL, 2).unfold(2, KERNEL, 2)  # (N, h, w, C, 4, 4)
    return x.permute(0, 1, 2, 4, 5, 3).reshape(count * h * w, TAPS * channels)


def overlap(rows: Tensor, shape: Shape) -> Tensor:
    """The sum of overlapping patches, the adjoint of `patches`: (N·h·w, 16·C) to (N, H, W, C).

    Args:
        shape: (H, W), of which (h, w) is the half.
    """
    (height, width), (h, w) = shape, halved(shape)
    quarters = rows.view(-1, h, w, 2, 2, 2, 2, rows.shape[1] // TAPS)
    x = rows.new_zeros(quarters.shape[0], h + 1, 2, w + 1, 2, quarters.shape[-1])
    for i in (0, 1):
        for j in (0, 1):  # one quarter of each patch: within a quarter no two overlap
            x[:, i : i + h, :, j : j + w] += quarters[:, :, :, i, :, j].transpose(2, 3)
    x = x.view(-1, 2 * h + 2, 2 * w + 2, quarters.shape[-1])
    return x[:, 1 : height + 1, 1 : width + 1].contiguous()


class _Patches(torch.autograd.Function):
    """`patches`, whose gradient autograd would sum over 16 scattered copies."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape[1:3]
        return patches(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return overlap(gradient, ctx.shape)


class _Overlap(torch.autograd.Function):
    """`overlap`, with its gradient."""

    @staticmethod
    def forward(_: Any, rows: Tensor, shape: Shape) -> Tensor:
        return overlap(rows, shape)

    @staticmethod
    @once_differentiable
    def backward(_: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return patches(gradient), None


class Convolution(Linear):
    """A convolution of 4 x 4 pixels with stride 2: (N, H, W, inputs) to (N, ceil(H/2), ceil(W/2), outputs).

    Its weight is (outputs, 16·inputs), a patch row by row, at first as in PyTorch's nn.Conv2d.
    """

    def __init__(self, shape: Shape, inputs: int, outputs: int, generator: Generator) -> None:
        super().__init__(TAPS * inputs, outputs, generator)
        self.shape = halved(shape)

    @property
    def flops(self) -> int:
        """Floating-point operations for a picture."""
        return super().flops * area(self.shape)

    def forward(self, x: Tensor) -> Tensor:
        rows: Tensor = _Patches.apply(x)
        return super().forward(rows).view(-1, *self.shape, self.out_features)


class Upsampling(nn.Module):
    """The transposed convolution: (N, ceil(H/2), ceil(W/2), inputs) to (N, H, W, outputs).

    Its weight is (16·outputs, inputs), at first as in PyTorch's nn.ConvTranspose2d.
    """

    def __init__(self, shape: Shape, inputs: int, outputs: int, generator: Generator) -> None:
        super().__init__()
        self.shape = shape
        bound = 1 / math.sqrt(TAPS * outputs)
        self.weight = nn.Parameter(
            torch.empty(TAPS * outputs, inputs).uniform_(-bound, bound, generator=generator)
        )
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound, generator=generator))

    @property
    def flops(self) -> int:
        """Floating-point operations for a picture."""
        return 2 * self.weight.numel() * area(halved(self.shape))

    def forward(self, x: Tensor) -> Tensor:
        rows = affine(x.view(-1, x.shape[-1]), self.weight)
        pictures: Tensor = _Overlap.apply(rows, self.shape)
        return pictures + self.bias


def pyramid(shape: Sequence[int], channels: Sequence[int]) -> list[tuple[Shape, int]]:
    """Height and width, and the channels, of a picture and after each convolution.

    Raises:
        ValueError: a convolution would find a single pixel.
    """
    height, width = shape
    if len(channels) > (most := most_convolutions((height, width))):
        raise ValueError(
            f"channels: {len(channels)} convolutions are too many for pictures of {height} x {width} pixels: "
            f"each halves both sides, and after {most} one pixel is left; use {most or 'the kind mlp'}"
            + (" or fewer" if most > 1 else "")
        )
    levels = [((height, width), 1)]
    for outputs in channels:
        levels.append((halved(levels[-1][0]), outputs))
    return levels


def in_chunks(network: nn.Module, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """function(x), in parts where no gradient is asked for: the patches of 2,000 images take gigabytes."""
    tensors = (x, *network.parameters())
    learning = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    if learning or torch.compiler.is_exporting() or len(x) <= CHUNK:
        return function(x)
    return torch.cat([function(part) for part in x.split(CHUNK)])


class Encoder(networks.Encoder, Hidden):
    """Convolutions that halve height and width, rounded up, then fully connected hidden layers."""

    def __init__(
        self,
        shape: Sequence[int],
        activation: str,
        generator: Generator,
        *,
        channels: Sequence[int],
        hidden: Sequence[int],
    ) -> None:
        super().__init__(activation)
        levels = pyramid(shape, channels)
        self.shape = levels[0][0]
        self.convolutions = nn.ModuleList(
            Convolution(size, inputs, outputs, generator)
            for (size, inputs), (_, outputs) in itertools.pairwise(levels)
        )
        size, last = levels[-1]
        widths = [area(size) * last, *hidden]
        self.width = widths[-1]
        self.add_hidden(widths, False, generator)

    def features(self, x: Tensor) -> Tensor:
        return in_chunks(self, self._features, x)

    def _features(self, x: Tensor) -> Tensor:
        h = x.reshape(-1, *self.shape, 1)
        for convolution in self.convolutions:
            h = self.activation(convolution(h))
        return self.run_hidden(h.flatten(1))


class Decoder(networks.Decoder, Hidden):
    """The encoder's layers in reverse order: fully connected ones, then upsampling to each of its sizes."""

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        activation: str,
        generator: Generator,
        *,
        channels: Sequence[int],
        hidden: Sequence[int],
    ) -> None:
        super().__init__(activation)
        levels = pyramid(shape, channels)[::-1]
        self.shape, self.channels = levels[0]
        self.add_hidden([latent, *reversed(hidden), area(self.shape) * self.channels], False, generator)
        self.upsamplings = nn.ModuleList(
            Upsampling(size, inputs, outputs, generator)
            for (_, inputs), (size, outputs) in itertools.pairwise(levels)
        )
        # of the logits: a pixel's own, as in the fully connected decoder
        self.upsamplings[-1].bias = nn.Parameter(torch.zeros(*levels[-1][0], 1))

    @property
    def bias(self) -> Tensor:
        """(pixels,), a view."""
        return self.upsamplings[-1].get_parameter("bias").view(-1)

    def hidden(self, z: Tensor) -> Tensor:
        return in_chunks(self, self._hidden, z)

    def _hidden(self, z: Tensor) -> Tensor:
        h = self.run_hidden(z).view(-1, *self.shape, self.channels)
        for upsampling in self.upsamplings[:-1]:
            h = self.activation(upsampling(h))
        return self.upsamplings[-1](h).flatten(1)
