"""How far numbers may lie from the committed ones where processors differ: tolerances.yaml, checked."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import Field, ValidationError, model_validator

from pipeline.console import UserError
from pipeline.params import Section, read

TOLERANCES = Path(__file__).with_name("tolerances.yaml")


class Rule(Section):
    """How far numbers may lie from the committed ones where processors differ.

    Attributes:
        match: of `file:key`, as fnmatch has it (`*` matches `/`, `.` and `:` too).
        absolute, relative: the largest difference; `relative` to the committed number.
        share: of a column of categories, how much of it may differ.
        reason: why it is as large as it is.
    """

    match: str = Field(min_length=1)
    absolute: float | None = Field(None, ge=0)
    relative: float | None = Field(None, ge=0)
    share: float | None = Field(None, ge=0, le=1)
    reason: str = Field(min_length=1)

    @model_validator(mode="after")
    def _one_measure(self) -> Rule:
        if sum(value is not None for value in (self.absolute, self.relative, self.share)) != 1:
            raise ValueError("needs one of absolute, relative and share")
        return self


class Tolerances(Section):
    """The content of tolerances.yaml: of the rules that match a number, the first one holds."""

    rules: list[Rule]


def load(path: Path = TOLERANCES) -> list[Rule]:
    """Reads the rules.

    Raises:
        UserError: one line for each thing that is wrong in the file.
    """
    try:
        return Tolerances.model_validate(read(path)).rules
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()]
        raise UserError(f"to mend in {path}:\n  " + "\n  ".join(lines)) from None


def rule_for(rules: Sequence[Rule], name: str) -> Rule | None:
    """The first rule that matches `file:key`."""
    return next((rule for rule in rules if fnmatchcase(name, rule.match)), None)
