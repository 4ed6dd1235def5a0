"""One optimizer for every model here: SGD or Adam(W), schedule, clipping, and an average of the weights."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw


class Settings(Protocol):
    """What `Optimizer` and the training loop read; params.yaml documents each value."""

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
    """A loss, a score or a weight is not finite."""


def learning_rate(settings: Settings, step: int, steps: int) -> float:
    """The step size of step 0 ≤ step < steps: a linear warm-up times a constant or a cosine to zero."""
    rising = settings.warmup * steps
    factor = min(1.0, (step + 1) / rising) if rising >= 1 else 1.0
    if settings.schedule == "cosine":
        factor *= 0.5 * (1 + math.cos(math.pi * step / steps))
    return settings.lr * factor


class Optimizer:
    """Updates the parameters of `model` in place, as `settings` say.

    Args:
        examples: size of the training set, from which the number of steps in an epoch follows.
    """

    def __init__(self, model: nn.Module, settings: Settings, examples: int) -> None:
        self.settings = settings
        self.steps = settings.epochs * -(-examples // settings.batch_size)
        self.taken = 0
        self.parameters: list[Tensor] = list(model.parameters())
        self.moments: dict[str, list[Tensor]] = {}
        if settings.optimizer == "adam":
            self.moments["step"] = [torch.zeros(()) for _ in self.parameters]
            for name in ("exp_avg", "exp_avg_sq"):  # of the gradient and of its square
                self.moments[name] = [torch.zeros_like(p) for p in self.parameters]
        self.average = [p.detach().clone() for p in self.parameters] if settings.averaging else []

    @property
    def epochs_done(self) -> int:
        """Completed epochs."""
        return self.taken * self.settings.epochs // self.steps

    @property
    def finite(self) -> bool:
        """Whether all weights are finite, the averaged ones as well."""
        return all(bool(tensor.isfinite().all()) for tensor in [*self.parameters, *self.average])

    def state(self) -> dict[str, Tensor]:
        """All that `load` needs to continue: parameters, Adam's moments, averaged weights, step count.

        They are the optimizer's own tensors, which change with the next step.
        """
        groups = {"parameter": self.parameters, **self.moments, "average": self.average}
        return {"taken": torch.tensor(self.taken)} | {
            f"{name}.{i}": tensor.detach() for name, group in groups.items() for i, tensor in enumerate(group)
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Continues from the `state` of an optimizer with the same settings and sizes.

        Raises:
            ValueError: the state does not fit this optimizer, which is then unchanged.
        """
        own = self.state()
        expected, found = (
            {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
            for tensors in (own, state)
        )
        if found != expected:
            raise ValueError("is of another model or optimizer")
        taken = int(state["taken"])
        if not 0 < taken <= self.steps or taken * self.settings.epochs % self.steps:
            raise ValueError("was not written at the end of an epoch")
        self.taken = taken
        for name, tensor in own.items():
            tensor.copy_(state[name])

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
            # at first Polyak and Juditsky's mean of all weights, which soon forgets the initial ones
            weight = max(1 - self.settings.averaging, 1 / (self.taken + 1))
            torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], weight)

    @torch.no_grad()
    def _update(self, lr: float) -> None:
        """A step with the same bits as that of torch.optim.SGD or AdamW.

        Constructing these classes imports torch's compiler, which takes two seconds of each process.
        """
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        decay = self.settings.weight_decay
        if self.settings.optimizer == "sgd":
            for parameter, gradient in zip(self.parameters, gradients, strict=True):
                decayed = gradient.add(parameter, alpha=decay) if decay else gradient
                parameter.add_(decayed, alpha=-lr)
            return
        # AdamW without decay is Adam; with it, the decay is decoupled from the gradient
        adamw(
            self.parameters, gradients, self.moments["exp_avg"], self.moments["exp_avg_sq"], [],
            self.moments["step"], fused=True, amsgrad=False, beta1=0.9, beta2=0.999, lr=lr,
            weight_decay=decay, eps=1e-8, maximize=False,
        )  # fmt: skip

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the model has the averaged weights, if weights are averaged."""
        self.swap_average()
        try:
            yield
        finally:
            self.swap_average()

    @torch.no_grad()
    def swap_average(self) -> None:
        """Exchanges the model's weights and the averaged ones, if weights are averaged."""
        for parameter, mean in zip(self.parameters, self.average, strict=False):
            kept = parameter.clone()
            parameter.copy_(mean)
            mean.copy_(kept)


def batches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Indices 0 … count-1 in batches of `size`, shuffled; a batch that holds all keeps their order."""
    if size >= count:
        return iter([torch.arange(count)])
    return iter(torch.randperm(count, generator=generator).split(size))
