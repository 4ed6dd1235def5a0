"""One optimizer for every model here: SGD or Adam(W), schedule, clipping, and an average of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn


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
        self.parameters = list(model.parameters())
        decay = settings.weight_decay
        kinds: dict[str, torch.optim.Optimizer] = {
            "sgd": torch.optim.SGD(self.parameters, lr=settings.lr, weight_decay=decay),
            # AdamW without decay is Adam; with it, the decay is decoupled from the gradient
            "adam": torch.optim.AdamW(self.parameters, lr=settings.lr, weight_decay=decay, fused=True),
        }
        self.inner = kinds[settings.optimizer]
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
            found |= {f"{key}.{place}": value for key, value in self.inner.state[parameter].items()}
        return found | {f"average.{place}": mean for place, mean in enumerate(self.average)}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Takes up where `state` was asked for, of an optimizer with the same settings and sizes.

        Raises:
            ValueError: it is of another one; nothing has changed then.
        """
        memory = ("step", "exp_avg", "exp_avg_sq") if self.settings.optimizer == "adam" else ()
        expected: dict[str, tuple[torch.Size, torch.dtype]] = {"taken": (torch.Size(), torch.int64)}
        for place, parameter in enumerate(self.parameters):
            kinds = ("parameter", *memory[1:], *(("average",) if self.average else ()))
            expected |= {f"{kind}.{place}": (parameter.shape, parameter.dtype) for kind in kinds}
            expected |= {f"{kind}.{place}": (torch.Size(), torch.float32) for kind in memory[:1]}
        if {name: (tensor.shape, tensor.dtype) for name, tensor in state.items()} != expected:
            raise ValueError("is of another model or optimizer")
        taken = int(state["taken"])
        if not 0 < taken <= self.steps or taken * self.settings.epochs % self.steps:
            raise ValueError("was not written at the end of an epoch")
        self.taken = taken
        for place, parameter in enumerate(self.parameters):
            parameter.copy_(state[f"parameter.{place}"])
            self.inner.state[parameter] = {kind: state[f"{kind}.{place}"].clone() for kind in memory}
        self.average = [state[f"average.{place}"].clone() for place in range(len(self.average))]

    def step(self, loss: Tensor) -> None:
        """One step down the gradient of `loss`."""
        for group in self.inner.param_groups:
            group["lr"] = learning_rate(self.settings, self.taken, self.steps)
        self.inner.zero_grad(set_to_none=True)
        loss.backward()
        if self.settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.settings.clip_norm, foreach=True)
        self.inner.step()
        self.taken += 1
        if self.average:
            # a young average forgets faster (Polyak and Juditsky's mean at first), so that it does not
            # remember the initial weights
            weight = max(1 - self.settings.averaging, 1 / (self.taken + 1))
            torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], weight)

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
