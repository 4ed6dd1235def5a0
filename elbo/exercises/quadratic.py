"""Minimizing f(x) = Σ a_i x_i² from x_0 by gradient descent and better optimizers, in float64.

Plain gradient descent has the closed form x_k = (1 − 2 lr a)^k x_0: each coordinate shrinks by its own
factor, oscillates where the factor is negative, and diverges where lr > 1 / a.

Adagrad, RMSprop and Adam scale each coordinate by its own gradients, which makes a quadratic easy if its axes
are the coordinates'. `rotation` turns its axes away from them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

TARGET = 0.01  # the loss that the assignment asks for
HUGE = 1e100  # a coordinate beyond this has diverged: its square would soon overflow

Make = Callable[[list[nn.Parameter], float, Tensor], torch.optim.Optimizer]


class Preconditioned(torch.optim.Optimizer):
    """Gradient descent along the gradient divided by a: Newton's step, which divides by 2a, times 2 lr.

    For a rotated quadratic a is the diagonal of its matrix, all that a diagonal preconditioner can use.
    """

    def __init__(self, parameters: list[nn.Parameter], lr: float, a: Tensor) -> None:
        super().__init__(parameters, {"lr": lr})
        self.a = a

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter -= group["lr"] * parameter.grad / self.a
        return loss


OPTIMIZERS: dict[str, Make] = {
    "gradient descent": lambda p, lr, _: torch.optim.SGD(p, lr),
    "heavy ball": lambda p, lr, _: torch.optim.SGD(p, lr, momentum=0.9),
    "Nesterov": lambda p, lr, _: torch.optim.SGD(p, lr, momentum=0.9, nesterov=True),
    "Adagrad": lambda p, lr, _: torch.optim.Adagrad(p, lr),
    "RMSprop": lambda p, lr, _: torch.optim.RMSprop(p, lr),
    "Adam": lambda p, lr, _: torch.optim.Adam(p, lr),
    "preconditioned by 1/a": lambda p, lr, a: Preconditioned(p, lr, a),
    "L-BFGS": lambda p, lr, _: torch.optim.LBFGS(
        p, lr, max_iter=1, history_size=10, tolerance_grad=0, tolerance_change=0
    ),
}


@dataclass(frozen=True)
class Run:
    """A run of one optimizer on D coordinates, which takes K steps, fewer than requested if it diverges."""

    positions: Tensor  # (K + 1, D) x_0 … x_K along the quadratic's axes
    losses: Tensor  # (K + 1,) f of them
    evaluations: int  # of f and its gradient
    diverged: bool  # whether it stopped because a coordinate exceeded `HUGE`

    @property
    def sign_changes(self) -> list[int]:
        """How often each coordinate crosses zero from one step to the next."""
        signs = self.positions.sign()
        return ((signs[1:] * signs[:-1]) < 0).sum(0).tolist()

    @property
    def steps_to_target(self) -> int | None:
        """The first step with a loss below `TARGET`, or None."""
        below = (self.losses < TARGET).nonzero()
        return int(below[0, 0]) if len(below) else None

    @property
    def log10_final(self) -> float | None:
        """log10 of the last loss, at least -300; None if it diverged."""
        return None if self.diverged else math.log10(max(self.losses[-1].item(), 1e-300))


def objective(x: Tensor, a: Tensor) -> Tensor:
    """f(x) = Σ a_i x_i²: (…, D) and (D,) to (…)."""
    return (a * x.square()).sum(-1)


def rotation(size: int) -> Tensor:
    """(D, D) the product of rotations by 45 degrees in the planes (1, 2), (2, 3), …, (D − 1, D).

    Its columns are the axes of the rotated quadratic; two coordinates are turned by 45 degrees.
    """
    turned = torch.eye(size, dtype=torch.float64)
    for i in range(size - 1):
        first, second = turned[:, i].clone(), turned[:, i + 1].clone()
        turned[:, i], turned[:, i + 1] = (first + second) * math.sqrt(0.5), (second - first) * math.sqrt(0.5)
    return turned


def minimize(
    name: str, lr: float, a: Sequence[float], start: float, steps: int, axes: Tensor | None = None
) -> Run:
    """Takes `steps` steps of an optimizer from x_0 = (start, …, start), with torch's gradients.

    Args:
        axes: (D, D) orthonormal columns, the axes of the quadratic. x_0 and the positions are measured along
            them; the optimizer sees the coordinates of Σ x_i axes_i. None: the axes are the coordinates'.

    Raises:
        KeyError: no optimizer has this name.
    """
    curvature = torch.tensor(a, dtype=torch.float64)
    first, diagonal = torch.full_like(curvature, start), curvature
    if axes is not None:
        first, diagonal = (axes * first).sum(1), (axes.square() * curvature).sum(1)
    x = nn.Parameter(first)
    optimizer = OPTIMIZERS[name]([x], lr, diagonal)
    evaluations = 0

    def along(point: Tensor) -> Tensor:
        # sums of products: the last digits of a matrix product would depend on the library
        return point if axes is None else (axes * point[:, None]).sum(0)

    def closure() -> Any:
        nonlocal evaluations
        evaluations += 1
        optimizer.zero_grad()
        loss = objective(along(x), curvature)
        loss.backward()
        return loss

    positions = [along(x.detach()).clone()]
    diverged = False
    while len(positions) <= steps and not diverged:
        optimizer.step(closure)
        positions.append(along(x.detach()).clone())
        diverged = not bool((positions[-1].abs() < HUGE).all())
    path = torch.stack(positions)
    return Run(path, objective(path, curvature), evaluations, diverged)


def contraction(a: Sequence[float], lr: float) -> list[float]:
    """The factors 1 − 2 lr a by which a step of gradient descent multiplies the coordinates."""
    return [1 - 2 * lr * value for value in a]


def closed_form(a: Sequence[float], lr: float, start: float, steps: int) -> Tensor:
    """(steps + 1, D) x_k = (1 − 2 lr a)^k x_0 of gradient descent."""
    factors = torch.tensor(contraction(a, lr), dtype=torch.float64)
    return start * factors ** torch.arange(steps + 1, dtype=torch.float64)[:, None]


def facts(a: Sequence[float], lr: float, start: float, run: Run) -> dict[str, Any]:
    """Theory of gradient descent on `a`, and the largest distance of a run from the closed form."""
    exact = closed_form(a, lr, start, len(run.positions) - 1)
    known = exact.isfinite()  # powers of a factor can overflow where a coordinate does not
    return {
        "contraction": contraction(a, lr),
        "largest_stable_lr": 1 / max(a),
        "condition_number": max(a) / min(a),
        "log10_deviation": math.log10(max((run.positions - exact)[known].abs().max().item(), 1e-300)),
    }
