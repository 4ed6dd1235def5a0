"""The pieces that the networks share: linear layers drawn from a given stream, activations, dropout."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "tanh": torch.tanh,
}


class _OneDnnLinear(torch.autograd.Function):
    """y = x Wᵀ + b and its gradients, each one call of oneDNN.

    On CPUs nn.Linear goes to MKL, which is slow for the batches here: a training step of the VAE takes 1.6
    times as long (two cores of an AMD EPYC, AVX-512).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            product(gradient, weight.t()) if of_x else None,
            product(gradient.t(), x.t()) if of_weight else None,
            gradient.sum(0) if of_bias else None,
        )


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b of float32 matrices on a CPU, without a gradient.

    By the operator that torch.compile uses: private, but there in the pinned version.
    """
    if not ONE_DNN:
        return F.linear(x, weight, bias)
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


ONE_DNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class Linear(nn.Linear):
    """nn.Linear, by oneDNN where the build has it and the input is a float32 matrix on a CPU.

    Its initialisation is PyTorch's default, drawn from `generator`: weight, then bias, both uniform in
    ±1/sqrt(inputs) (nn.Linear's kaiming_uniform with a = sqrt(5) comes to the same).
    """

    def __init__(self, inputs: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__(inputs, outputs, device="meta")
        # not by to_empty, which imports torch's symbolic shapes: 0.7 s of each process
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))
        bound = 1 / math.sqrt(inputs)
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5), generator=generator)
        nn.init.uniform_(self.bias, -bound, bound, generator=generator)

    def forward(self, input: Tensor) -> Tensor:
        fits = input.dim() == 2 and input.dtype == torch.float32 and input.device.type == "cpu"
        if ONE_DNN and fits:
            y: Tensor = _OneDnnLinear.apply(input, self.weight, self.bias)
            return y
        return super().forward(input)


def drop(x: Tensor, share: float, generator: torch.Generator | None, *, rescale: bool = True) -> Tensor:
    """Dropout from a given stream: each entry becomes 0 with probability `share`.

    Args:
        generator: None outside training, which returns `x` as it is.
        rescale: divide what remains by 1 - share, so that the mean is kept; not wanted for binary pixels,
            which should stay 0 or 1.
    """
    if generator is None or share == 0:
        return x
    kept = torch.rand(x.shape, generator=generator).ge_(share)  # 0.0 or 1.0: a bool mask costs a cast
    return x * kept / (1 - share) if rescale else x * kept
