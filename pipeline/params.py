"""params.yaml, checked whole before any work, and handed out by section."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.console import UserError

PARAMS = Path("params.yaml")


class Section(BaseModel):
    """A section of params.yaml: every key given, none unknown, no type converted into another."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True
    )


def read(path: Path | str = PARAMS) -> dict[str, Any]:
    """The plain content of params.yaml, read as DVC reads it: YAML 1.2, where 3e-4 is a number.

    Raises:
        UserError: it is missing, or not YAML, or not a mapping.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="safe", pure=True).load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is not here; run this from the project's folder") from None
    except RecursionError:
        raise UserError(f"{path} is nested too deeply to be read") from None
    except (YAMLError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold sections (`name:` and, indented below it, its keys)")
    return content


def load(schema: type[Section], *sections: str, path: Path | str = PARAMS) -> tuple[Any, ...]:
    """Checks all of params.yaml against `schema`, then returns the named sections (`"vae.notebook"`) alone.

    Raises:
        UserError: one line for each thing that is wrong, or a section that is not in the file.
    """
    content = read(path)
    try:
        checked = schema.model_validate(content)
    except ValidationError as error:
        lines = [_explain(schema, dict(detail)) for detail in error.errors()]
        count = "1 thing" if len(lines) == 1 else f"{len(lines)} things"
        raise UserError(f"{count} to mend in {path}:\n  " + "\n  ".join(lines)) from None
    return tuple(_section(checked, name, path) for name in sections)


def _section(value: Any, name: str, path: Path | str) -> Any:
    for key in name.split("."):
        known = value if isinstance(value, dict) else dict(value)
        if key not in known:
            raise UserError(f"{path} has no section {name}; there are: {', '.join(known)}")
        value = known[key]
    return value


def _explain(schema: type[Section], detail: dict[str, Any]) -> str:
    location = [str(part) for part in detail["loc"]]
    path = ".".join(location) or "the file"
    kind = detail["type"]
    if kind == "extra_forbidden":
        names = _names(schema, location[:-1])
        near = difflib.get_close_matches(location[-1], names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(names)}"
        return f"{path}: unknown key; {hint}"
    if kind == "missing":
        return f"{path}: is missing"
    message = detail["msg"].removeprefix("Value error, ")
    message = message.removeprefix("Input ")
    return f"{path}: {message}"


def _names(schema: type[Section], location: list[str]) -> list[str]:
    """The keys that the section at `location` may have; on the way lie sections and dicts of sections."""
    kind: Any = schema
    for key in location:
        fields = getattr(kind, "model_fields", None)
        kind = fields[key].annotation if fields else get_args(kind)[1]
    return list(kind.model_fields)
