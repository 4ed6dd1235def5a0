"""The pieces that the networks share: linear layers drawn from a given stream, activations, dropout."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Activation = Callable[[Tensor], Tensor]
ACTIVATIONS: dict[str, Activation] = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu, "tanh": torch.tanh}


class _OneDnnLinear(torch.autograd.Function):
    """y = x Wᵀ + b and its gradients, each one call of oneDNN.

    On CPUs nn.Linear uses MKL, which is slow for these batches: a training step of the VAE takes 1.6 times as
    long (two cores of an AMD EPYC, AVX-512).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        x_needed, weight_needed, bias_needed = ctx.needs_input_grad
        return (
            product(gradient, weight.t()) if x_needed else None,
            product(gradient.t(), x.t()) if weight_needed else None,
            gradient.sum(0) if bias_needed else None,
        )


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b of float32 matrices on a CPU, without a gradient.

    Calls the operator that torch.compile uses: private, but part of the pinned version.
    """
    if not ONE_DNN:
        return F.linear(x, weight, bias)
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


ONE_DNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class Linear(nn.Linear):
    """nn.Linear, by oneDNN if the build has it and the input is a float32 matrix on a CPU.

    The initialisation is PyTorch's default, drawn from `generator`: weight, then bias, both uniform in
    ±1/sqrt(inputs) (kaiming_uniform with a = sqrt(5) is the same distribution).
    """

    def __init__(self, inputs: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__(inputs, outputs, device="meta")
        # to_empty would import torch's symbolic shapes: 0.7 s of each process
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))
        bound = 1 / math.sqrt(inputs)
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5), generator=generator)
        nn.init.uniform_(self.bias, -bound, bound, generator=generator)

    @property
    def flops(self) -> int:
        """Floating-point operations for a row: two for each weight."""
        return 2 * self.weight.numel()

    def forward(self, input: Tensor) -> Tensor:
        return affine(input, self.weight, self.bias)


def affine(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b with gradients, (N, inputs) to (N, outputs); by oneDNN as in `Linear`.

    torch.export cannot write oneDNN's operator, which is private, so that it sees torch's own.
    """
    fits = (x.dim(), x.dtype, x.device.type) == (2, torch.float32, "cpu")
    if not ONE_DNN or not fits or torch.compiler.is_exporting():
        return F.linear(x, weight, bias)
    y: Tensor = _OneDnnLinear.apply(x, weight, bias)
    return y


def drop(x: Tensor, share: float, generator: torch.Generator | None, *, rescale: bool = True) -> Tensor:
    """Dropout from a given stream: each entry becomes 0 with probability `share`.

    Args:
        generator: None outside training, which returns `x` unchanged.
        rescale: divide the rest by 1 - share, which keeps the mean; False keeps binary pixels binary.
    """
    if generator is None or share == 0:
        return x
    kept = torch.rand(x.shape, generator=generator).ge_(share)  # 0.0 or 1.0: a bool mask would need a cast
    return x * kept / (1 - share) if rescale else x * kept
