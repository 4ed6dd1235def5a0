"""One training: its lock, its checkpoints, its MLflow run and its progress bar."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from workflow.runs.checkpoints import Checkpoints
from workflow.runs.console import progress
from workflow.runs.locks import shared_result
from workflow.tracking.live import live

if TYPE_CHECKING:
    from torch import Tensor


class Epoch(Protocol):
    @property
    def row(self) -> dict[str, Any]:
        """The epoch's metrics, and `epoch`, its number from 1."""


class Resumable(Protocol):
    """The content of a checkpoint: usually the optimizer, with the parameters."""

    def state(self) -> dict[str, "Tensor"]: ...
    def load(self, state: Mapping[str, "Tensor"]) -> None: ...


E_co = TypeVar("E_co", bound=Epoch)


class Training:
    """`with Training("train_line@a", tags, optimizer) as run: for epoch in run(epochs, total): …`.

    The stage writes its outputs inside, after the loop, unless they are `shared`.

    Attributes:
        rows: the metrics of all epochs, including those before a resume.
        shared: another process has trained on equal inputs, and its outputs are in place.
    """

    def __init__(self, stage: str, tags: Mapping[str, str], resumable: Resumable) -> None:
        self.stage = stage
        self.tags = tags
        self.resumable = resumable
        self.rows: list[dict[str, Any]] = []
        self.shared = False

    def __enter__(self) -> "Training":
        with ExitStack() as stack:
            inputs, self.shared = stack.enter_context(shared_result(self.stage))
            if not self.shared:
                self._checkpoints = Checkpoints(inputs)
                self.rows = self._checkpoints.resume(self.resumable.load)
                self._live = stack.enter_context(live(inputs, self.tags, self.rows))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def __call__(self, epochs: Iterable[E_co], total: int) -> Iterator[E_co]:
        """The epochs, each logged and, when one is due, followed by a checkpoint; none if `shared`."""
        if self.shared:
            return
        name = self.stage.partition("@")[2] or self.stage
        for epoch in progress(epochs, total=total, done=len(self.rows), label=name, unit="epoch"):
            self.rows.append(epoch.row)
            self._live.log(epoch.row)
            self._checkpoints.save(self.rows, self.resumable.state)
            yield epoch
