"""What a stage read: the identity of its result, the same whether asked by the stage or afterwards."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.files import digest, md5


def main_repository() -> Path:
    """Where the MLflow store is: the original, also from a copy that `dvc exp run --temp` makes."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()


@dataclass(frozen=True)
class Inputs:
    """What a stage declares to read, as it is in the working directory or in a dvc.lock.

    Attributes:
        stage: `train_vae@tuned`.
        files: md5 by path, of all its deps.
        params: the values of its own sections of params.yaml, flattened (`vae.tuned.lr`).
        inherited: the same of the stages before it, which made its data.
        outputs: paths of its outputs.
        measured: the params of the stages that measured or drew the result; they are not its identity.
        command: of the stage.
        text: what it does, in a sentence.
    """

    stage: str
    files: dict[str, str]
    params: dict[str, Any]
    inherited: dict[str, Any]
    outputs: tuple[str, ...]
    measured: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    text: str = ""

    @property
    def digest(self) -> str:
        text = json.dumps([self.stage, self.files, self.params], sort_keys=True)
        return digest(text.encode())

    @property
    def family(self) -> str:
        """`vae` of `train_vae@tuned`."""
        return member(self.stage)[0]

    @property
    def name(self) -> str:
        """`tuned` of `train_vae@tuned`."""
        return member(self.stage)[1]

    @property
    def short_params(self) -> dict[str, Any]:
        """All params; those of the stage's own section by their last name, so that variants line up."""
        own = f"{self.family}.{self.name}."
        every = self.measured | self.inherited | self.params
        return {key.removeprefix(own): value for key, value in every.items()}


def member(stage: str) -> tuple[str, str]:
    """Family and name of a stage's member: `vae` and `tuned` of `train_vae@tuned`; no name: it has none."""
    name, _, of = stage.partition("@")
    return name.partition("_")[2], of


def inputs(stage: str) -> Inputs:
    """Reads the stage's declaration in this folder as DVC resolves it, and the files it names.

    Raises:
        DvcException, OSError: dvc.yaml has no such stage, or a dep is not there.
    """
    from dvc.repo import Repo

    with Repo(".") as repo:
        loaded = repo.stage.load_one(name=stage)
        return declared(repo, loaded, lambda dep: md5(dep.def_path), lambda dep: dep.read_params())


def declared(repo: Any, stage: Any, sum_of: Callable[[Any], str], values: Callable[[Any], Any]) -> Inputs:
    """The inputs of a stage of `repo`: md5 of deps by `sum_of`, params by `values` of their dependency."""
    params = params_of([stage], values)
    inherited = params_of(_ancestors(repo, stage), values)
    return Inputs(
        stage=str(stage.name),
        files={path: sum_of(dep) for path, dep in sorted(files_of(stage).items())},
        params=params,
        inherited={key: value for key, value in inherited.items() if key not in params},
        outputs=tuple(str(out.def_path) for out in stage.outs),
        command=str(stage.cmd),
        text=str(stage.desc or ""),
    )


def files_of(stage: Any) -> dict[str, Any]:
    """The deps of a stage that are files or folders, by path."""
    return {str(dep.def_path): dep for dep in stage.deps if not hasattr(dep, "params")}


def params_of(stages: Iterable[Any], values: Callable[[Any], Any]) -> dict[str, Any]:
    """The params that stages declare, flattened, by the `values` of a dependency on params."""
    found: dict[str, Any] = {}
    for stage in stages:
        for dep in stage.deps:
            if hasattr(dep, "params"):
                found |= _flat(values(dep) or {})
    return found


def _ancestors(repo: Any, stage: Any) -> list[Any]:
    import networkx as nx

    return sorted(nx.descendants(repo.index.graph, stage), key=lambda item: str(item.name))


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    parts = (_flat(item, f"{prefix}.{key}" if prefix else str(key)) for key, item in value.items())
    return {key: item for part in parts for key, item in part.items()}
