"""Checkpoints of a training: written whole or not at all, checked before use, gone when the stage is done.

They are no outputs: they lie below .work in the main repository, in a folder named by the digest of all that
the training read, so that a checkpoint can only be found by the training it belongs to.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.console import say, warn
from pipeline.files import write_bytes
from pipeline.identity import Inputs, main_repository

if TYPE_CHECKING:
    from torch import Tensor

State = Mapping[str, "Tensor"]
Rows = list[dict[str, Any]]
KEPT = 2  # the newest, and the one before it
# A checkpoint is due when so many times its own cost has passed since the last one: an epoch of the VAE takes
# longer, and thousands of short epochs share a few checkpoints, so that none costs more than 3% of its time.
PATIENCE = 33
FORMAT = 1


class Damaged(ValueError):
    """A file is no checkpoint of this training: the message says why."""


class Checkpoints:
    """Those of one training."""

    def __init__(self, of: Inputs) -> None:
        self.of = of
        self.folder = main_repository() / ".work" / of.digest
        self.written = -float("inf")
        self.cost = 0.0
        self.broken = False

    def resume(self, load: Callable[[State], None]) -> Rows:
        """Hands the newest valid state to `load`; returns the rows of the epochs that lie behind it.

        What is damaged, or what `load` refuses by a ValueError, is set aside, and the one before it tried.
        """
        for path in sorted(self.folder.glob("*.safetensors"), reverse=True):
            try:
                state, rows = read(path, self.of.digest)
                load(state)
            except ValueError as error:
                self._set_aside(path, str(error))
                continue
            say(f"{self.of.stage}: goes on after epoch {len(rows)}, from its checkpoint")
            return rows
        return []

    def save(self, rows: Sequence[Mapping[str, Any]], state: Callable[[], State]) -> None:
        """Writes a checkpoint, if one is due; a full disk is said once, and training goes on without."""
        began = time.monotonic()
        if self.broken or began - self.written < PATIENCE * self.cost:
            return
        try:
            write(self.folder, self.of.digest, rows, state())
            for old in sorted(self.folder.glob("*.safetensors"))[:-KEPT]:
                old.unlink(missing_ok=True)
        except OSError as error:
            self.broken = True
            warn(f"{self.of.stage}: no checkpoints can be written ({error.strerror}); training goes on")
        self.written = time.monotonic()
        self.cost = self.written - began

    def clear(self) -> None:
        """Removes all of them: the outputs are where a killed `dvc` does not cost them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _set_aside(self, path: Path, fault: str) -> None:
        aside = self.folder.parent / "damaged" / f"{self.of.digest[:8]}-{path.name}"
        with suppress(OSError):
            aside.parent.mkdir(exist_ok=True)
            path.replace(aside)
        warn(f"{self.of.stage}: the checkpoint {path.name} {fault}; it is set aside as {aside}")


def write(folder: Path, digest: str, rows: Sequence[Mapping[str, Any]], state: State) -> Path:
    """Writes one checkpoint; its name has the number of epochs, and the hash of its content."""
    import safetensors.torch

    about = json.dumps({"format": FORMAT, "digest": digest, "rows": rows})
    content = safetensors.torch.save(dict(state), metadata={"about": about})
    path = folder / f"{len(rows):06d}-{_hash(content)}.safetensors"
    write_bytes(path, content)
    return path


def read(path: Path, digest: str) -> tuple[State, Rows]:
    """A checkpoint's state and rows, if its content is what its name says, and of inputs of this digest.

    Raises:
        Damaged: it is not.
    """
    import safetensors
    import safetensors.torch

    try:
        content = path.read_bytes()
    except OSError as error:
        raise Damaged(f"cannot be read ({error.strerror})") from None
    if path.stem.partition("-")[2] != _hash(content):
        raise Damaged("is damaged: its content is not what its name says")
    try:
        state = safetensors.torch.load(content)
        size = int.from_bytes(content[:8], "little")
        about = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["about"])
        rows = about["rows"]
        if about["format"] != FORMAT or about["digest"] != digest:
            raise Damaged("belongs to another training")
        if not isinstance(rows, list):
            raise TypeError("rows")
        if [row["epoch"] for row in rows] != list(range(1, len(rows) + 1)):
            raise Damaged("has not a row for each epoch")
    except Damaged:
        raise
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RecursionError):
        raise Damaged("is no checkpoint of ours") from None
    return state, rows


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
