"""Files that appear whole or not at all, with the same bytes for the same content."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch
    from matplotlib.figure import Figure

DECIMALS = 6  # of every number in reports/: a millionth of a nat, far below any standard error here


def write_bytes(path: Path | str, content: bytes) -> None:
    """Writes `content` to `path` by a temporary file, fsync and rename: a reader never sees half a file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path | str, content: Mapping[str, Any]) -> None:
    """Writes sorted keys and floats of at most `DECIMALS` decimals."""
    text = json.dumps(_rounded(content), indent=2, sort_keys=True, allow_nan=False)
    write_bytes(path, f"{text}\n".encode())


def read_json(path: Path | str) -> dict[str, Any]:
    """Reads a json object.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not json.
    """
    content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return content


def write_csv(path: Path | str, table: pd.DataFrame) -> None:
    """Writes a table without its index, floats with `DECIMALS` decimals, lines ending in LF."""
    text = table.to_csv(index=False, float_format=f"%.{DECIMALS}f", lineterminator="\n")
    write_bytes(path, text.encode())


def write_npz(path: Path | str, **arrays: np.ndarray) -> None:
    """Writes arrays uncompressed, in the order of their names, each zip entry with the same fixed date.

    Not by `numpy.savez`, which streams its entries: their headers then depend on Python's version (3.11.4
    changed them), where those of entries written at once do not.
    """
    import numpy as np

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in sorted(arrays):
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.asanyarray(arrays[name]), allow_pickle=False)
            file.writestr(zipfile.ZipInfo(f"{name}.npy"), entry.getvalue())
    write_bytes(path, buffer.getvalue())


def read_npz(path: Path | str) -> dict[str, np.ndarray]:
    """Reads what `write_npz` wrote, without pickle."""
    import numpy as np

    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def write_weights(path: Path | str, tensors: Mapping[str, torch.Tensor], about: str) -> None:
    """Writes safetensors; `about` is its one metadata key (several have no fixed order, safetensors #584)."""
    import safetensors.torch

    content = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, safetensors.torch.save(content, metadata={"about": about}))


def read_weights(path: Path | str) -> dict[str, torch.Tensor]:
    """Reads what `write_weights` wrote, without pickle."""
    import safetensors.torch

    return safetensors.torch.load_file(path)


def write_figure(path: Path | str, figure: Figure) -> None:
    """Writes a PNG of at most 256 colours (a third of the size), which names no version and no date."""
    from PIL import Image

    drawn, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    image = Image.open(drawn).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(packed, "png", optimize=True)
    write_bytes(path, packed.getvalue())


def md5(path: Path | str) -> str:
    """The md5 of a file, in hexadecimal: what DVC, and the authors of the datasets, name it by."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def digest(*parts: bytes) -> str:
    """32 hexadecimal digits of the sha256 of `parts` (MLflow takes at most 36)."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()[:32]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DECIMALS) + 0.0  # -0.0 becomes 0.0
    if isinstance(value, Mapping):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
