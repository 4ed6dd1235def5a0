"""Checkpoints of a training: written whole or not at all, checked before use, removed after success.

They are no outputs. They lie below .work in the main repository, in a folder named by the digest of all that
the training reads, so that only a training with the same inputs finds them.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflow.core.errors import UserError
from workflow.core.files import write_bytes
from workflow.runs.console import say, warn
from workflow.runs.identity import Inputs, main_repository

if TYPE_CHECKING:
    from torch import Tensor

State = Mapping[str, "Tensor"]
Rows = list[dict[str, Any]]
KEEP = 2  # files: the newest one, and the one before it
MAX_SHARE = 0.03  # of a training's time, for its checkpoints: of short epochs, not each has one
FORMAT = 1


class Checkpoints:
    """The checkpoints of one training."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self.folder = main_repository() / ".work" / inputs.digest
        self.saved_at = -float("inf")
        self.cost = 0.0  # of the last one, in seconds
        self.failed = False

    def resume(self, load: Callable[[State], None]) -> Rows:
        """Passes the newest valid state to `load`; returns the rows of the epochs before it.

        A damaged file, or one that `load` refuses by a ValueError, is moved away, and the one before it used.
        """
        for path in sorted(self.folder.glob("*.safetensors"), reverse=True):
            try:
                state, rows = read(path, self.inputs.digest)
                load(state)
            except ValueError as error:
                self._set_aside(path, str(error))
                continue
            say(f"{self.inputs.stage}: continues after epoch {len(rows)}, from its checkpoint")
            return rows
        return []

    def save(self, rows: Sequence[Mapping[str, Any]], state: Callable[[], State]) -> None:
        """Writes a checkpoint, if one is due. A full disk is reported once, and training continues."""
        started_at = time.monotonic()
        if self.failed or started_at - self.saved_at < self.cost / MAX_SHARE:
            return
        try:
            write(self.folder, self.inputs.digest, rows, state())
            for old in sorted(self.folder.glob("*.safetensors"))[:-KEEP]:
                old.unlink(missing_ok=True)
        except OSError as error:
            self.failed = True
            warn(f"{self.inputs.stage}: no checkpoints can be written ({error.strerror}); training continues")
        self.saved_at = time.monotonic()
        self.cost = self.saved_at - started_at

    def clear(self) -> None:
        """Removes all checkpoints; to be called when the outputs would survive a kill of `dvc`."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _set_aside(self, path: Path, fault: str) -> None:
        moved = self.folder.parent / "damaged" / f"{self.inputs.digest[:8]}-{path.name}"
        with suppress(OSError):
            moved.parent.mkdir(exist_ok=True)
            path.replace(moved)
        warn(f"{self.inputs.stage}: the checkpoint {path.name} {fault}; it is moved to {moved}")


def write(folder: Path, digest: str, rows: Sequence[Mapping[str, Any]], state: State) -> Path:
    """Writes one checkpoint, named by the number of its epochs and the hash of its content."""
    import safetensors.torch

    # the order of a row's keys is that of the table's columns
    about = json.dumps({"format": FORMAT, "digest": digest, "rows": rows})
    content = safetensors.torch.save(dict(state), metadata={"about": about})
    path = folder / f"{len(rows):06d}-{_hash(content)}.safetensors"
    write_bytes(path, content)
    return path


def read(path: Path, digest: str) -> tuple[State, Rows]:
    """The state and rows of a checkpoint, after its hash, its digest and its rows are checked.

    Raises:
        ValueError: it cannot be used; the message begins with a verb, to be written after the file's name.
    """
    from workflow.core.weights import read_weights

    try:
        if path.stem.partition("-")[2] != _hash(path.read_bytes()):
            raise ValueError("is damaged: its content does not match the hash in its name")
        state, about = read_weights(path)
        rows = about["rows"]
        valid = about["format"] == FORMAT and about["digest"] == digest and isinstance(rows, list)
        if valid and [row["epoch"] for row in rows] == list(range(1, len(rows) + 1)):
            return state, rows
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from None
    except (UserError, KeyError, TypeError):
        pass
    raise ValueError("is not a checkpoint of this training")


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
