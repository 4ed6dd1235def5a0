"""params.yaml, checked whole before any work, and handed out by section."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

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
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        content = YAML(typ="safe", pure=True).load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is not here; run this from the project's folder") from None
    except RecursionError:
        raise UserError(f"{path} is nested too deeply to be read") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UserError(f"{path} is not YAML ({place}{error.problem or error.context})") from None
    except (YAMLError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold sections (`name:` and, indented below it, its keys)")
    return content


def load(schema: type[Section], *sections: str, path: Path | str = PARAMS) -> tuple[Any, ...]:
    """Checks all of params.yaml against `schema`, then returns the named sections (`"vae.notebook"`) alone.

    Whoever asks for a section is about to compute: where `compute.portable` has no effect, that is refused.

    Raises:
        UserError: one line for each thing that is wrong, or a section that is not in the file.
    """
    content = read(path)
    try:
        checked = schema.model_validate(content)
    except ValidationError as error:
        lines = [explain(schema, dict(detail)) for detail in error.errors()]
        count = "1 error" if len(lines) == 1 else f"{len(lines)} errors"
        raise UserError(f"{path} has {count}:\n  " + "\n  ".join(lines)) from None
    if sections:
        from pipeline.processor import require

        require()
    return tuple(_section(checked, name, path) for name in sections)


def _section(value: Any, name: str, path: Path | str) -> Any:
    for key in name.split("."):
        known = value if isinstance(value, dict) else dict(value)
        if key not in known:
            raise UserError(f"{path} has no section {name}; there are: {', '.join(known)}")
        value = known[key]
    return value


def explain(schema: type[Section], detail: Mapping[str, Any]) -> str:
    """One of pydantic's errors in our words: where, what is wrong, what to write instead.

    Raises:
        KeyError: an error of a type that `MESSAGES` does not have.
    """
    location = [str(part) for part in detail["loc"] if part != "[key]"]
    if detail["type"] == "extra_forbidden":
        names = list(_annotation(schema, location[:-1]).model_fields)
        near = difflib.get_close_matches(location[-1], names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(names)}"
        return f"{'.'.join(location)}: unknown key; {hint}"
    context = {"value": _shown(detail["input"]), **detail.get("ctx", {})}
    if "actual_length" in context:
        context["count"] = "1 item" if context["actual_length"] == 1 else f"{context['actual_length']} items"
    message = MESSAGES[detail["type"]].format(**context)
    if detail["type"] != "invalid_key" and detail["loc"][-1:] != ("[key]",):
        message += ", or null" * (NoneType in get_args(_annotation(schema, location)))
    return f"{'.'.join(location)}: {message}" if location else message


def _annotation(schema: type[Section], location: list[str]) -> Any:
    """The type of what stands at `location`; on the way lie sections, dicts and lists."""
    kind: Any = schema
    for key in location:
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        fields = getattr(kind, "model_fields", None)
        kind = fields[key].annotation if fields else get_args(kind)[-1]
    return kind


def _shown(value: Any) -> str:
    """A value as it may stand in YAML, in few words."""
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, bool | str | None) else str(value)
    text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


SHOWN = 40  # letters of a faulty value
# By pydantic's types of errors, all that a schema of ours can raise; a test goes through its schema.
MESSAGES = {
    "missing": "is missing",
    "model_type": "{value} is not a section; write its keys below it, indented",
    "dict_type": "{value} is not a section; write its keys below it, indented",
    "invalid_key": "a key must be text; write {value} in quotes",
    "list_type": "{value} is not a list; write one in brackets",
    "string_type": "{value} is not text; write it in quotes",
    "string_unicode": "{value} is not valid text",
    "string_pattern_mismatch": "{value} cannot be a name; write small letters, digits and _, no _ first",
    "int_type": "{value} is not a whole number",
    "float_type": "{value} is not a number",
    "bool_type": "{value} is neither true nor false",
    "finite_number": "{value} is not a finite number",
    "greater_than": "{value} is too small; write a number above {gt}",
    "greater_than_equal": "{value} is too small; write {ge} or more",
    "less_than": "{value} is too large; write a number below {lt}",
    "less_than_equal": "{value} is too large; write {le} or less",
    "multiple_of": "{value} is not a multiple of {multiple_of}",
    "literal_error": "{value} is not known; write {expected}",
    "too_short": "it has {count}; write {min_length} or more",
    "too_long": "it has {count}; write {max_length} or fewer",
    "value_error": "{error}",
}
