"""The inputs of a stage, which identify its result: read from the working directory or from dvc.lock."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workflow.core.files import digest
from workflow.runs import dvc_repo


def main_repository() -> Path:
    """The folder that has the MLflow store, also when called in a copy that `dvc exp run --temp` makes."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()


@dataclass(frozen=True)
class Inputs:
    """What a stage declares to read, with the values of the working directory or of a dvc.lock.

    The digest is made of the first three fields alone.
    """

    stage: str  # `train_line@a`
    files: dict[str, str]  # md5 by path, of all its deps
    params: dict[str, Any]  # of its own sections of params.yaml, flattened (`line.a.lr`)
    inherited: dict[str, Any]  # params of the stages before it, which made its data
    outputs: tuple[str, ...]  # paths
    measured: dict[str, Any] = field(default_factory=dict)  # params of the stages that evaluate or draw it
    command: str = ""
    text: str = ""  # what the stage does, in a sentence

    @property
    def digest(self) -> str:
        text = json.dumps([self.stage, self.files, self.params], sort_keys=True)
        return digest(text.encode())

    @property
    def family(self) -> str:
        """`line` of `train_line@a`."""
        return member(self.stage)[0]

    @property
    def name(self) -> str:
        """`a` of `train_line@a`."""
        return member(self.stage)[1]

    @property
    def short_params(self) -> dict[str, Any]:
        """All params. Those of the stage's own section lose its name, so that members can be compared."""
        own = f"{self.family}.{self.name}."
        params = self.measured | self.inherited | self.params
        return {key.removeprefix(own): value for key, value in params.items()}


def member(stage: str) -> tuple[str, str]:
    """Family and name of a stage: `line` and `a` of `train_line@a`; the name may be empty."""
    name, _, item = stage.partition("@")
    return name.partition("_")[2], item


def read_inputs(stage: str) -> Inputs:
    """Reads the stage's declaration in this folder as DVC resolves it, and the files it names.

    Raises:
        DvcException, OSError: dvc.yaml has no such stage, or a dep is not there.
    """
    with dvc_repo.repository() as repo:
        loaded = repo.stage.load_one(name=stage)
        return declared(repo, loaded, dvc_repo.present_md5, lambda dep: dep.read_params())


def declared(repo: Any, stage: Any, sum_of: Callable[[Any], str], values: Callable[[Any], Any]) -> Inputs:
    """The inputs of a stage of `repo`; `sum_of(dep)` is the md5 of a file, `values(dep)` its params."""
    params = dvc_repo.params_of([stage], values)
    inherited = dvc_repo.params_of(dvc_repo.ancestors(repo, stage), values)
    return Inputs(
        stage=str(stage.name),
        files={path: sum_of(dep) for path, dep in sorted(dvc_repo.file_deps(stage).items())},
        params=params,
        inherited={key: value for key, value in inherited.items() if key not in params},
        outputs=tuple(str(out.def_path) for out in stage.outs),
        command=str(stage.cmd),
        text=str(stage.desc or ""),
    )
