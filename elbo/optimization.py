"""One optimizer for every model here: SGD or Adam(W), schedule, clipping, and an average of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

MOMENTS = ("exp_avg", "exp_avg_sq")  # what Adam remembers of the gradient, and of its square


class Settings(Protocol):
    """What `Optimizer` and the training loops read; params.yaml says what each means."""

    @property
    def seed(self) -> int: ...
    @property
    def epochs(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def optimizer(self) -> str: ...
    @property
    def lr(self) -> float: ...
    @property
    def schedule(self) -> str: ...
    @property
    def warmup(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def clip_norm(self) -> float | None: ...
    @property
    def averaging(self) -> float: ...


class Diverged(ArithmeticError):
    """The loss is no longer a number."""


def learning_rate(settings: Settings, step: int, steps: int) -> float:
    """The step size of step 0 ≤ step < steps: a linear warm-up times a constant or a cosine to zero."""
    rising = settings.warmup * steps
    factor = min(1.0, (step + 1) / rising) if rising >= 1 else 1.0
    if settings.schedule == "cosine":
        factor *= 0.5 * (1 + math.cos(math.pi * step / steps))
    return settings.lr * factor


class Optimizer:
    """Takes the steps of a training on the parameters of `model`, by `settings`.

    Args:
        examples: of the training set: an epoch has a step for each batch.
    """

    def __init__(self, model: nn.Module, settings: Settings, examples: int) -> None:
        self.settings = settings
        self.steps = settings.epochs * -(-examples // settings.batch_size)
        self.taken = 0
        self.parameters: list[Tensor] = list(model.parameters())
        self.memory: dict[str, list[Tensor]] = {}
        if settings.optimizer == "adam":
            self.memory = {"step": [torch.zeros(()) for _ in self.parameters]}
            self.memory |= {key: [torch.zeros_like(p) for p in self.parameters] for key in MOMENTS}
        self.average = [p.detach().clone() for p in self.parameters] if settings.averaging else []

    @property
    def epochs_done(self) -> int:
        """Whole epochs that lie behind."""
        return self.taken * self.settings.epochs // self.steps

    def state(self) -> dict[str, Tensor]:
        """All that `load` needs to go on: the parameters, what the method remembers, the average, the count.

        They are the tensors themselves, and change with the next step.
        """
        found = {"taken": torch.tensor(self.taken)}
        for place, parameter in enumerate(self.parameters):
            found[f"parameter.{place}"] = parameter.detach()
            found |= {f"{key}.{place}": values[place] for key, values in self.memory.items()}
        return found | {f"average.{place}": mean for place, mean in enumerate(self.average)}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Takes up where `state` was asked for, of an optimizer with the same settings and sizes.

        Raises:
            ValueError: it is of another one; nothing has changed then.
        """
        expected: dict[str, tuple[torch.Size, torch.dtype]] = {"taken": (torch.Size(), torch.int64)}
        for place, parameter in enumerate(self.parameters):
            like = {"parameter": parameter} | {key: values[place] for key, values in self.memory.items()}
            like |= {"average": parameter} if self.average else {}
            expected |= {f"{key}.{place}": (value.shape, value.dtype) for key, value in like.items()}
        if {name: (tensor.shape, tensor.dtype) for name, tensor in state.items()} != expected:
            raise ValueError("is of another model or optimizer")
        taken = int(state["taken"])
        if not 0 < taken <= self.steps or taken * self.settings.epochs % self.steps:
            raise ValueError("was not written at the end of an epoch")
        self.taken = taken
        for place, parameter in enumerate(self.parameters):
            parameter.copy_(state[f"parameter.{place}"])
            for key, values in self.memory.items():
                values[place] = state[f"{key}.{place}"].clone()
        self.average = [state[f"average.{place}"].clone() for place in range(len(self.average))]

    def step(self, loss: Tensor) -> None:
        """One step down the gradient of `loss`."""
        for parameter in self.parameters:
            parameter.grad = None
        loss.backward()
        if self.settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.settings.clip_norm, foreach=True)
        self._update(learning_rate(self.settings, self.taken, self.steps))
        self.taken += 1
        if self.average:
            # a young average forgets faster (Polyak and Juditsky's mean at first), so that it does not
            # remember the initial weights
            weight = max(1 - self.settings.averaging, 1 / (self.taken + 1))
            torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], weight)

    @torch.no_grad()
    def _update(self, lr: float) -> None:
        """torch.optim.SGD's step or AdamW's, by the functions that those classes call.

        The classes import torch's compiler when they are made: two seconds of each training's process.
        """
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        decay = self.settings.weight_decay
        if self.settings.optimizer == "sgd":
            nothing: list[Tensor | None] = [None] * len(gradients)
            sgd(
                self.parameters, gradients, nothing, foreach=False, fused=False,
                weight_decay=decay, momentum=0.0, lr=lr, dampening=0.0, nesterov=False, maximize=False,
            )  # fmt: skip
            return
        first, second = (self.memory[key] for key in MOMENTS)
        # AdamW without decay is Adam; with it, the decay is decoupled from the gradient
        adamw(
            self.parameters, gradients, first, second, [], self.memory["step"], fused=True,
            amsgrad=False, beta1=0.9, beta2=0.999, lr=lr, weight_decay=decay, eps=1e-8, maximize=False,
        )  # fmt: skip

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the model has the averaged weights, if weights are averaged."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def finish(self) -> None:
        """Leaves the averaged weights in the model, if weights are averaged."""
        self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for parameter, mean in zip(self.parameters, self.average, strict=False):
            kept = parameter.clone()
            parameter.copy_(mean)
            mean.copy_(kept)


def batches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Indices 0 … count-1 in batches of `size`, shuffled; a batch that holds all keeps their order."""
    if size >= count:
        return iter([torch.arange(count)])
    return iter(torch.randperm(count, generator=generator).split(size))
