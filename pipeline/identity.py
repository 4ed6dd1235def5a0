"""What a stage read: the identity of its result, the same whether asked by the stage or afterwards."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.files import digest, md5


def main_repository() -> Path:
    """Where the MLflow store is: the original, also from a copy that `dvc exp run --temp` makes."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()


@dataclass(frozen=True)
class Inputs:
    """What a stage declares to read, as it is in the working directory.

    Attributes:
        stage: `train_vae@tuned`.
        files: md5 by path, of all its deps.
        params: the values of its own sections of params.yaml, flattened (`vae.tuned.lr`).
        inherited: the same of the stages before it, which made its data.
        outputs: paths of its outputs.
    """

    stage: str
    files: dict[str, str]
    params: dict[str, Any]
    inherited: dict[str, Any]
    outputs: tuple[str, ...]

    @property
    def digest(self) -> str:
        text = json.dumps([self.stage, self.files, self.params], sort_keys=True)
        return digest(text.encode())

    @property
    def family(self) -> str:
        """`vae` of `train_vae@tuned`."""
        return self.stage.partition("@")[0].removeprefix("train_")

    @property
    def name(self) -> str:
        """`tuned` of `train_vae@tuned`."""
        return self.stage.partition("@")[2]

    @property
    def short_params(self) -> dict[str, Any]:
        """All params; those of the stage's own section by their last name, so that variants line up."""
        own = f"{self.family}.{self.name}."
        return {key.removeprefix(own): value for key, value in (self.inherited | self.params).items()}


def inputs(stage: str) -> Inputs:
    """Reads the stage's declaration in this folder as DVC resolves it, and the files it names.

    Raises:
        DvcException, OSError: dvc.yaml has no such stage, or a dep is not there.
    """
    from dvc.repo import Repo

    with Repo(".") as repo:
        loaded = repo.stage.load_one(name=stage)
        files, params = _declared(loaded)
        inherited: dict[str, Any] = {}
        for ancestor in _ancestors(repo, loaded):
            inherited |= _declared(ancestor)[1]
        return Inputs(
            stage=stage,
            files={path: md5(path) for path in sorted(files)},
            params=params,
            inherited={key: value for key, value in inherited.items() if key not in params},
            outputs=tuple(str(out.def_path) for out in loaded.outs),
        )


def _declared(stage: Any) -> tuple[list[str], dict[str, Any]]:
    files: list[str] = []
    params: dict[str, Any] = {}
    for dep in stage.deps:
        if hasattr(dep, "params"):
            params |= _flat(dep.read_params())
        else:
            files.append(str(dep.def_path))
    return files, params


def _ancestors(repo: Any, stage: Any) -> list[Any]:
    import networkx as nx

    return sorted(nx.descendants(repo.index.graph, stage), key=lambda item: str(item.addressing))


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    parts = (_flat(item, f"{prefix}.{key}" if prefix else str(key)) for key, item in value.items())
    return {key: item for part in parts for key, item in part.items()}


def git_state() -> dict[str, str]:
    """The commit at HEAD, and whether files that git tracks differ from it; nothing outside git."""
    try:
        commit = _git("rev-parse", "HEAD")
        dirty = bool(_git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"git_commit": commit, "git_dirty": str(dirty).lower()}


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
