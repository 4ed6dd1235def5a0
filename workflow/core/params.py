"""params.yaml, checked whole before any work, and handed out by section."""

import difflib
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from workflow.core import processor
from workflow.core.errors import UserError
from workflow.core.files import PARAMS, read_yaml


class Section(BaseModel):
    """A section of params.yaml: no key may be missing or unknown, and no type is converted."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


def load(schema: type[Section], *sections: str, path: Path | str = PARAMS) -> tuple[Any, ...]:
    """Checks all of params.yaml against `schema`, then returns the given sections (`"line.a"`) only.

    Raises:
        UserError: a line for each fault; or a section is missing; or sections are given, which the caller
            computes with, and the settings of `compute` have no effect.
    """
    content = read_yaml(path)
    try:
        checked = schema.model_validate(content)
    except ValidationError as error:
        lines = [explain(schema, dict(detail)) for detail in error.errors()]
        count = "1 error" if len(lines) == 1 else f"{len(lines)} errors"
        raise UserError(f"{path} has {count}:\n  " + "\n  ".join(lines)) from None
    if sections:
        processor.require()
    return tuple(_section(checked, name, path) for name in sections)


def set_params(path: Path, *settings: str) -> None:
    """Sets each `section.key=value` in a params.yaml; raises a UserError if it has no such key."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 1000  # a line stays a line
    content = yaml.load(path.read_text(encoding="utf-8"))
    for setting in settings:
        name, _, value = setting.partition("=")
        *sections, key = name.split(".")
        inner = functools.reduce(lambda outer, section: outer.get(section, {}), sections, content)
        if key not in inner:
            raise UserError(f"params.yaml has no {name}")
        inner[key] = YAML(typ="safe").load(value)
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(content, file)


def _section(value: Any, name: str, path: Path | str) -> Any:
    for key in name.split("."):
        if key not in (known := dict(value)):
            raise UserError(f"{path} has no section {name}; there are: {', '.join(known)}")
        value = known[key]
    return value


def explain(schema: type[Section], detail: Mapping[str, Any]) -> str:
    """A message for one of pydantic's errors: where, what is wrong, what to write instead."""
    path = [str(part) for part in detail["loc"] if part != "[key]"]
    context = {"value": _shown(detail["input"]), **detail.get("ctx", {})}
    if detail["type"] == "extra_forbidden":
        section, location = _follow(schema, path[:-1])
        names = list(section.model_fields)
        near = difflib.get_close_matches(path[-1], names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(names)}"
        return f"{'.'.join([*location, path[-1]])}: unknown key; {hint}"
    annotation, location = _follow(schema, path)
    if detail["type"].startswith("union_tag"):
        location.append(context["discriminator"].strip("'"))
    message = MESSAGES[detail["type"]].format(**context)
    if NoneType in get_args(annotation):
        message += ", or null"
    return f"{'.'.join(location)}: {message}" if location else message


def _follow(schema: type[Section], path: list[str]) -> tuple[Any, list[str]]:
    """The type of the value at `path`, None for an unknown key; and its keys in the file.

    Where a section is one of several types, pydantic's path names the type, too, and the file does not.
    """
    kind: Any = schema
    keys, choice = [], ""
    for key in path:
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        if choice:
            types = get_args(kind) or (kind,)
            kind = next(type_ for type_ in types if key in get_args(type_.model_fields[choice].annotation))
            choice = ""
            continue
        keys.append(key)
        field = getattr(kind, "model_fields", {}).get(key)
        choice = str(field.discriminator or "") if field else ""
        kind = field.annotation if field else (get_args(kind) or [None])[-1]
    return kind, keys


def _shown(value: Any) -> str:
    """A value as YAML has it, cut after `SHOWN` letters."""
    if isinstance(value, dict | list):
        return "a section" if isinstance(value, dict) else "a list"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, bool | str | None) else str(value)
    text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


SHOWN = 40  # letters of a faulty value
# All types of errors that our schemas can raise; a test looks for others.
MESSAGES = {
    "missing": "is missing",
    "model_type": "{value} is not a section; write its keys below it, indented",
    "model_attributes_type": "{value} is not a section; write its keys below it, indented",
    "union_tag_not_found": "is missing",
    "union_tag_invalid": '"{tag}" is not known; write {expected_tags}',
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
    "too_short": "the number of items is {actual_length}; write {min_length} or more",
    "too_long": "the number of items is {actual_length}; write {max_length} or fewer",
    "value_error": "{error}",
}
