"""Compares two sets of reports number by number: what differs, by how much, and how much is allowed."""

import csv
import json
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from workflow.core.errors import UserError
from workflow.core.files import read_yaml
from workflow.core.params import Section
from workflow.runs.lockfile import LOCK, entries, outputs
from workflow.runs.project import project

IDENTITY = ("dataset", "dataset_digest", "fallback_for")
OTHER_DATASET = "the dataset is another one, or its content is"
PACKAGES = "data/packages"


class Rule(Section):
    """How far numbers may lie from the committed ones where processors differ.

    The limit is the largest of `absolute`, `relative` and `errors`, or else `share`.

    Attributes:
        match: patterns of `file:key`, as fnmatch has them (`*` matches `/`, `.` and `:` too).
        relative: a limit as a part of the committed number.
        errors: a limit in standard errors; that of key `k` is the committed `k_se` of the same row.
        share: how much of a column may differ.
    """

    match: list[str] = Field(min_length=1)
    absolute: float | None = Field(None, ge=0)
    relative: float | None = Field(None, ge=0)
    errors: float | None = Field(None, ge=0)
    share: float | None = Field(None, ge=0, le=1)
    reason: str = Field(min_length=1)

    @model_validator(mode="after")
    def _has_a_limit(self) -> "Rule":
        limits = self.absolute, self.relative, self.errors
        if (self.share is None) == all(limit is None for limit in limits):
            raise ValueError("needs share, or else some of absolute, relative and errors")
        return self

    def limit(self, committed: Decimal, error: Decimal | None) -> Decimal:
        """The largest difference from a committed number with this standard error; None: it is not known.

        Then the other limits hold, and without these none does.
        """
        pairs = (self.absolute, Decimal(1)), (self.relative, abs(committed)), (self.errors, error)
        limits = [
            Decimal(str(factor)) * unit for factor, unit in pairs if factor is not None and unit is not None
        ]
        return max(limits, default=Decimal("inf"))


class Tolerances(Section):
    """The content of tolerances.yaml: of the rules that match a number, the first one holds."""

    rules: list[Rule]


Rules = Sequence[Rule]


@dataclass(frozen=True)
class Finding:
    """One thing that differs, in words; fails where `excess`, the difference over the limit, is above 1."""

    file: str
    place: str
    committed: str
    obtained: str
    reason: str
    difference: str = ""
    allowed: str = ""
    excess: float = math.inf


@dataclass
class Result:
    """What a comparison found; of each file the largest findings come first."""

    heading: str  # what was compared, and how
    findings: list[Finding] = field(default_factory=list)
    numbers: int = 0
    files: int = 0

    @property
    def failures(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.excess > 1]


def load_rules(path: Path | None = None) -> list[Rule]:
    """The rules of a file, by default the project's; raises a UserError with a line for each fault."""
    file = path or project().tolerances
    try:
        return Tolerances.model_validate(read_yaml(file)).rules if file else []
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()]
        raise UserError(f"{file} has errors:\n  " + "\n  ".join(lines)) from None


def rule_for(rules: Rules, name: str) -> Rule | None:
    """The first rule that matches `file:key`."""
    return next((rule for rule in rules if any(fnmatchcase(name, pattern) for pattern in rule.match)), None)


def compare(
    committed: Path,
    obtained: Path,
    rules: Rules,
    ignored: Collection[str] = (),
    tolerated: str = "compute.portable is false",
) -> Result:
    """Compares the reports/ and dvc.lock of two folders.

    If all cached outputs have the committed bytes, or must have them, each number must be the committed one
    to its last digit; else the rules say how far it may lie from it.

    Args:
        ignored: files in reports/ that are not compared.
        tolerated: why other bytes are no fault here, in a clause; empty: they are one.
    """
    left, right = (_reports(folder) - set(ignored) for folder in (committed, obtained))
    old, new = (outputs(entries(folder / LOCK)) for folder in (committed, obtained))
    cached = [path for path in old | new if not path.startswith("reports/")]
    different = [path for path in cached if old.get(path) != new.get(path)]
    if PACKAGES in different:
        tolerated = "other versions of packages are installed (`make doctor` names them)"
    exact = not different or not tolerated
    heading = _heading(len(cached) - len(different), len(cached), tolerated)
    result = Result(heading, files=len(left | right))
    for path in different if exact else ():
        pair = old.get(path, "missing"), new.get(path, "missing")
        result.findings.append(Finding(path, "its md5", *pair, "compute.portable: its bytes must be equal"))
    for file in sorted(left | right):
        if file in left & right:
            _compare_file(file, committed, obtained, None if exact else rules, result)
        else:
            pair = ("there", "missing") if file in left else ("missing", "there")
            result.findings.append(Finding(file, "the file", *pair, "is there on one side only"))
    if other := [finding for finding in result.findings if finding.reason == OTHER_DATASET]:
        return Result("ANOTHER DATASET: its numbers are not compared.", other, result.numbers, result.files)
    return result


def columns(path: Path) -> dict[str, list[str]]:
    """The numbers and words of a report, as they are written, by column or dotted key; a figure has none.

    Raises:
        ValueError: it is not what its suffix says.
    """
    try:
        if path.suffix == ".json":
            # numbers stay text: a float would not keep how they are written
            text = path.read_text(encoding="utf-8")
            content = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
            return {key: [value] for key, value in _leaves(content, "")}
        if path.suffix == ".csv":
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.reader(file, strict=True))
            if not rows or len(set(rows[0])) < len(rows[0]):
                raise ValueError("no names of columns, or a name twice")
            return {name: list(values) for name, *values in zip(*rows, strict=True)}
    except (RecursionError, csv.Error) as error:
        raise ValueError(str(error)) from None
    return {}


def number(text: str) -> Decimal | None:
    """A number exactly as it is written, so that a difference of 0.1 is 0.1; None: it is a word, or empty."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def _leaves(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict | list) and value:
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(item, f"{key}.{name}" if key else str(name))
    else:
        yield key, value if isinstance(value, str) else json.dumps(value)


def _reports(folder: Path) -> set[str]:
    files = [path for path in (folder / "reports").rglob("*") if path.is_file() and path.name != ".gitignore"]
    return {path.relative_to(folder).as_posix() for path in files}


def _heading(equal: int, cached: int, tolerated: str) -> str:
    which = f"{cached} cached outputs (data and models) have the committed bytes"
    digits = "Every number must be equal to its last digit, every figure in its bytes."
    if equal == cached:
        return f"BYTES: all {which}.\n{digits}"
    if not tolerated:
        return f"BYTES: only {equal} of {which}.\nWith compute.portable, all must have them. {digits}"
    return (
        f"NUMBERS: {equal} of {which}.\nBytes are not compared, because {tolerated}.\n"
        "Rounding differs there, and training amplifies it: numbers are compared within the limits of\n"
        "stages/tolerances.yaml, which gives reasons; figures need only be there."
    )


def _compare_file(file: str, committed: Path, obtained: Path, rules: Rules | None, result: Result) -> None:
    """Adds to `result` the findings of one file; without `rules` all must be equal."""
    try:
        old, new = columns(committed / file), columns(obtained / file)
    except ValueError as error:
        result.findings.append(Finding(file, "the file", "", "", f"cannot be read: {error}"))
        return
    result.numbers += sum(number(value) is not None for values in old.values() for value in values)
    found: list[Finding] = []
    for key in sorted(old.keys() | new.keys()):
        left, right = old.get(key, []), new.get(key, [])
        if len(left) == len(right) and key not in IDENTITY:
            found += _compare_column(file, key, old, right, rules)
        elif left != right:
            words = [" ".join(values[:2]) or "missing" for values in (left, right)]
            reason = OTHER_DATASET if key in IDENTITY else "must have as many values"
            found.append(Finding(file, key, words[0], words[1], reason))
    if rules is None and not found and (committed / file).read_bytes() != (obtained / file).read_bytes():
        found.append(Finding(file, "its bytes", "", "", "same arithmetic: its bytes must be equal"))
    result.findings += sorted(found, key=lambda finding: -finding.excess)


def _compare_column(
    file: str, key: str, old: dict[str, list[str]], new: list[str], rules: Rules | None
) -> Iterator[Finding]:
    """What differs in a column; without a rule, nothing may."""
    rule = rule_for(rules or (), f"{file}:{key}")
    otherwise = "same arithmetic: every digit" if rules is None else "no rule in tolerances.yaml: it"
    reason = rule.reason if rule else f"{otherwise} must be equal"
    rows = [row for row, pair in enumerate(zip(old[key], new, strict=True)) if pair[0] != pair[1]]
    for row in rows:
        place = f"{key}, row {row + 1}" if file.endswith(".csv") else key
        pair = old[key][row], new[row]
        if rule and rule.share is not None:
            place += f" and {len(rows) - 1} more" if len(rows) > 1 else ""
            words = f"{len(rows)} of {len(new)}", f"{rule.share:.1%}"
            excess = _excess(Decimal(len(rows)) / len(new), Decimal(str(rule.share)))
            yield Finding(file, place, *pair, reason, *words, excess)
            return
        committed, obtained = map(number, pair)
        if committed is None or obtained is None:
            yield Finding(file, place, *pair, "words, and what is no number, must be equal")
            continue
        difference = abs(committed - obtained)
        error = number(old[f"{key}_se"][row]) if f"{key}_se" in old else Decimal(0)
        allowed = rule.limit(committed, error) if rule else Decimal(0)
        words = f"{float(difference):.6g}", f"{float(allowed):.4g}"
        # without a rule it fails even where only the writing differs, as in 1.1 and 1.10
        excess = _excess(difference, allowed) if rule else math.inf
        yield Finding(file, place, *pair, reason, *words, excess)


def _excess(difference: Decimal, allowed: Decimal) -> float:
    return float(difference / allowed) if allowed else math.inf if difference else 0.0
