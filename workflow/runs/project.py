"""What pyproject.toml tells the workflow about its project, in `[tool.workflow]`."""

import functools
import importlib
import tomllib
from dataclasses import field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass

from workflow.core.errors import UserError

STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=STRICT)
class Models:
    """The models that MLflow serves."""

    stage: str  # whose weights they are (`train_line`)
    # `package.module:function`, from tensors and settings of a file of weights to, by the model's name, a
    # network, an example of its input (N, width) and a rule for the input: the `values` that its numbers may
    # have (none: all finite ones), and `advice` for whoever has others
    networks: str
    names: dict[str, str]  # a description of each model, by its name
    aliases: dict[str, str] = field(default_factory=dict)  # the metric whose highest value gets the alias
    # the param that is the size of the held-out split which decides the alias `best`: only versions with the
    # largest one compete
    held_out: str = ""
    comparable: tuple[str, ...] = ()  # params and tags that must be equal for versions to compete
    description: str = ""


@dataclass(frozen=True, config=STRICT)
class Project:
    """The project."""

    schema: str  # `package.module:Class` of params.yaml
    runs: tuple[str, ...] = ()  # stages whose results are MLflow runs
    curves: dict[str, str] = field(default_factory=dict)  # by file name of a table: its column of steps
    # patterns of the numbers in reports/ that are metrics (`<file>/<path>`); without any, all are
    metrics: tuple[str, ...] = ()
    # columns of curves whose best value is a metric `best_<column>`; the first one that a table has says in
    # which step the run was best (`best_<step>`)
    best: dict[str, Literal["max", "min"]] = field(default_factory=dict)
    untracked: str = ""  # a folder in reports/ that repeats what other files say, and is left out of runs
    tolerances: str = ""  # a file of tolerances for `make verify`
    small: str = ""  # a file of settings that make the pipeline small, for `make quick`
    # stages that may use another dataset than requested, and the file that says so (`dataset`, `requested`)
    stand_ins: dict[str, str] = field(default_factory=dict)
    variables: tuple[str, ...] = ()  # environment variables that may hold a path, relative to the repository
    # about how long stages run, until they have run here; by stage, or by `stage@member` where members differ
    seconds: dict[str, float] = field(default_factory=dict)
    models: Models | None = None

    def is_metric(self, name: str) -> bool:
        """Whether the number `<file>/<path>` is a metric of its run. One that decides an alias always is."""
        patterns = (*self.metrics, *(self.models.aliases.values() if self.models else ()))
        return not self.metrics or any(fnmatchcase(name, pattern) for pattern in patterns)


def project(folder: Path | str = ".") -> Project:
    """The project in a folder; raises a UserError if its `[tool.workflow]` is missing or has errors."""
    return _read(Path(folder, "pyproject.toml").absolute())


@functools.cache
def _read(path: Path) -> Project:
    try:
        return Project(**tomllib.loads(path.read_text(encoding="utf-8"))["tool"]["workflow"])
    except FileNotFoundError:
        raise UserError(f"{path} is not here; run this from the project's folder") from None
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise UserError(f"{path} has errors in [tool.workflow]:\n  " + "\n  ".join(faults)) from None
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{path}: [tool.workflow] cannot be read: {error}") from None


def imported(name: str) -> Any:
    """The object that `package.module:name` stands for."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)
