"""Two sets of reports, number by number: what differs, by how much, and how much of it is allowed."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from pipeline.files import md5
from pipeline.lockfile import LOCK, entries, outputs
from pipeline.numbers import columns, number
from pipeline.tolerances import Rule, rule_for

IDENTITY = ("dataset", "dataset_digest", "fallback_for")
INSIDE = 5  # differences that are allowed, and shown all the same, of a file that was edited by hand
PACKAGES = "data/packages"
EVERY_DIGIT = "same arithmetic: every digit must be equal"
NO_RULE = "no rule in tolerances.yaml: must be equal"


@dataclass(frozen=True)
class Finding:
    """One thing that differs, in words; `excess` is the difference over what is allowed: above 1 it fails."""

    file: str
    place: str
    committed: str
    obtained: str
    difference: str
    allowed: str
    reason: str
    excess: float

    @property
    def fails(self) -> bool:
        return self.excess > 1


@dataclass
class Result:
    """What a comparison found.

    Attributes:
        heading: plain sentences: what was compared with what measure.
        findings: what fails, and of files edited by hand also the largest of what does not.
        largest: of the differences that are allowed, the one closest to its limit.
    """

    heading: str
    findings: list[Finding] = field(default_factory=list)
    largest: Finding | None = None
    numbers: int = 0
    files: int = 0

    @property
    def failed(self) -> int:
        return sum(finding.fails for finding in self.findings)


def compare(
    committed: Path,
    obtained: Path,
    rules: Sequence[Rule],
    ignored: Collection[str] = (),
    tolerated: str = "compute.portable is false",
) -> Result:
    """Compares the reports/ and dvc.lock of two folders.

    Where all cached outputs have the committed bytes, or ought to, each number must be the committed one
    to its last digit; elsewhere the rules say how far it may lie from it.

    Args:
        ignored: files in reports/ that git does not track, and that are nothing to compare therefore.
        tolerated: why other bytes are no fault here, in a clause; empty: they are one.
    """
    left, right = (_reports(folder) - set(ignored) for folder in (committed, obtained))
    both = sorted(left & right)
    if other := [item for file in both for item in _other_dataset(file, committed, obtained)]:
        return Result(f"ANOTHER DATASET: {other[0].reason}.\nNothing else was compared.", other)
    old, new = (entries(folder / LOCK) for folder in (committed, obtained))
    sums, new_sums = outputs(old), outputs(new)
    cached = {path for path in sums.keys() | new_sums.keys() if not path.startswith("reports/")}
    equal = sum(sums.get(path) == new_sums.get(path) for path in cached)
    if sums.get(PACKAGES) != new_sums.get(PACKAGES):
        tolerated = "other versions of packages are installed (`make doctor` names them)"
    exact = equal == len(cached) or not tolerated
    result = Result(_heading(equal, len(cached), tolerated), files=len(left | right))
    if equal < len(cached):
        result.findings += _other_inputs(old, new)
    if exact:
        result.findings += _other_bytes(old, sums, new_sums, cached)
    for file in sorted(left | right):
        if file not in right:
            reason = "the pipeline did not make it" if file in sums else "no stage makes it"
            result.findings.append(_certain(file, "the file", "there", "missing", reason))
        elif file not in left:
            result.findings.append(_certain(file, "the file", "missing", "there", "is not committed"))
        else:
            _compare_file(file, committed, obtained, None if exact else rules, sums.get(file), result)
    return result


def _reports(folder: Path) -> set[str]:
    paths = (folder / "reports").rglob("*")
    return {
        path.relative_to(folder).as_posix() for path in paths if path.is_file() and path.name != ".gitignore"
    }


def _other_inputs(old: dict[str, Any], new: dict[str, Any]) -> list[Finding]:
    """Where the committed dvc.lock is not of the code and params that ran: tolerances are not for that."""
    reason = f"{LOCK} was made from other code or params (`make check` says more)"
    left, right = _inputs(old), _inputs(new)
    return [
        _certain(str(LOCK), place, left.get(place, "missing"), right.get(place, "missing"), reason)
        for place in sorted(left.keys() | right.keys())
        if left.get(place) != right.get(place)
    ]


def _inputs(stages: dict[str, Any]) -> dict[str, str]:
    made = outputs(stages)
    found: dict[str, str] = {}
    for name, stage in stages.items():
        found[f"{name}: command"] = stage["cmd"]
        for dep in stage.get("deps", []):
            # nothing that a stage makes, nor a folder of such, nor a file in such a folder
            path = f"{dep['path']}/"
            if not any(f"{out}/".startswith(path) or path.startswith(f"{out}/") for out in made):
                found[f"{name}: {dep['path']}"] = dep.get("md5", "")
        for params in stage.get("params", {}).values():
            found |= {f"{name}: {key}": str(value) for key, value in params.items()}
    return found


def _other_bytes(
    stages: dict[str, Any], old: dict[str, str], new: dict[str, str], cached: Collection[str]
) -> Iterator[Finding]:
    """The cached outputs that have not the committed bytes, stage by stage in the order in which they ran."""
    order = [out["path"] for stage in stages.values() for out in stage.get("outs", [])]
    for path in [*order, *sorted(new.keys() - old.keys())]:
        if path in cached and old.get(path) != new.get(path):
            pair = old.get(path, "missing"), new.get(path, "missing")
            yield _certain(path, "its md5", *pair, "compute.portable: its bytes must be equal")


def _heading(equal: int, cached: int, tolerated: str) -> str:
    which = f"{cached} cached outputs (data and models) have the committed bytes"
    if equal == cached:
        return (
            f"BYTES: all {which}. The arithmetic is\n"
            "the committed run's: every number must be equal to its last digit, every figure in its bytes."
        )
    if not tolerated:
        return (
            f"BYTES: only {equal} of {which}.\n"
            "With compute.portable, an x86-64 processor with AVX2 and the recorded packages, all must have:\n"
            "every number must be equal to its last digit, every figure in its bytes."
        )
    return (
        f"NUMBERS: {equal} of {which}, and bytes are not what is\n"
        f"compared, since {tolerated}. Other arithmetic rounds\n"
        "differently, and training amplifies it, so numbers are compared within pipeline/tolerances.yaml,\n"
        "which gives a reason for each; of figures, only that they are there."
    )


def _other_dataset(file: str, committed: Path, obtained: Path) -> Iterator[Finding]:
    if not file.endswith(".json"):
        return
    try:
        old, new = columns(committed / file), columns(obtained / file)
    except ValueError:
        return  # said when its numbers are compared
    names = [" ".join(side.get("dataset", ["nothing named"])) for side in (old, new)]
    reason = f"the committed numbers are of {names[0]}, those obtained of {names[1]}"
    if names[0] == names[1]:
        reason += " with other content"
    if standing_in := new.get("fallback_for"):
        reason += f", a stand-in: {standing_in[0]} could not be had"
    for key in IDENTITY:
        if old.get(key) != new.get(key):
            left, right = (" ".join(side.get(key, ["missing"])) for side in (old, new))
            yield _certain(file, key, left, right, reason)


def _compare_file(
    file: str, committed: Path, obtained: Path, rules: Sequence[Rule] | None, sum_: str | None, result: Result
) -> None:
    """Adds to `result` what is to be said of one file; no `rules` means that all has to be equal."""
    actual = md5(committed / file)
    edited = actual != sum_
    if edited:
        reason = f"was edited by hand, or committed without its {LOCK}"
        place = f"its md5, and that in {LOCK}"
        result.findings.append(_certain(file, place, actual, sum_ or "none", reason))
    try:
        found = list(_differences(file, committed / file, obtained / file, rules, result))
    except ValueError as error:
        result.findings.append(_certain(file, "the file", "", "", f"cannot be read: {error}"))
        return
    found.sort(key=lambda finding: -finding.excess)
    inside = [finding for finding in found if not finding.fails]
    if inside and (result.largest is None or inside[0].excess > result.largest.excess):
        result.largest = inside[0]
    result.findings += [finding for finding in found if finding.fails] + inside[: INSIDE if edited else 0]


def _differences(
    file: str, committed: Path, obtained: Path, rules: Sequence[Rule] | None, result: Result
) -> Iterator[Finding]:
    equal = committed.read_bytes() == obtained.read_bytes()
    if committed.suffix not in (".json", ".csv"):
        if rules is None and not equal:
            yield _certain(file, "its bytes", "", "", "same arithmetic: its bytes must be equal")
        return
    old, new = columns(committed), columns(obtained)
    for key in sorted(old.keys() | new.keys()):
        if key not in old or key not in new:
            left, right = (" ".join(side.get(key, ["missing"])[:2]) for side in (old, new))
            yield _certain(file, key, left, right, "is there on one side only")
    rows = [max(map(len, side.values()), default=0) for side in (old, new)]
    if rows[0] != rows[1]:
        yield _certain(file, "rows", str(rows[0]), str(rows[1]), "other rows")
    for key in (key for key in old if key in new):
        pairs = list(zip(old[key], new[key], strict=False))
        result.numbers += sum(number(left) is not None for left, _ in pairs)
        rule = rule_for(rules or (), f"{file}:{key}")
        yield from _column(file, key, pairs, rule, NO_RULE if rules is not None else EVERY_DIGIT)
    if rules is None and not equal and old == new:
        yield _certain(file, "its bytes", "", "", "same numbers in other bytes")


def _column(
    file: str, key: str, pairs: list[tuple[str, str]], rule: Rule | None, otherwise: str
) -> Iterator[Finding]:
    """What differs in a column; without a rule, nothing may, and `otherwise` is the reason."""
    reason = rule.reason if rule else otherwise
    rows = [row for row, (left, right) in enumerate(pairs) if left != right]
    places = [f"{key}, row {row + 1}" if file.endswith(".csv") else key for row in rows]
    if rows and rule and rule.share is not None:
        more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        part = Decimal(len(rows)) / len(pairs)
        words = f"{len(rows)} of {len(pairs)}", f"{rule.share:.1%}"
        excess = _excess(part, Decimal(str(rule.share)))
        yield Finding(file, places[0] + more, *pairs[rows[0]], *words, reason, excess)
        return
    for place, (left, right) in zip(places, (pairs[row] for row in rows), strict=True):
        old, new = number(left), number(right)
        if old is None or new is None:
            yield _certain(file, place, left, right, "words, and what is no number, must be equal")
            continue
        difference, allowed = abs(old - new), _allowed(old, rule)
        words = f"{float(difference):.6g}", f"{float(allowed):.4g}"
        # without a rule it fails even where only the writing differs, as in 1.1 and 1.10
        excess = _excess(difference, allowed) if rule else math.inf
        yield Finding(file, place, left, right, *words, reason, excess)


def _allowed(committed: Decimal, rule: Rule | None) -> Decimal:
    if rule is None:
        return Decimal(0)
    if rule.relative is not None:
        return Decimal(str(rule.relative)) * abs(committed)
    return Decimal(str(rule.absolute))


def _excess(difference: Decimal, allowed: Decimal) -> float:
    return float(difference / allowed) if allowed else math.inf if difference else 0.0


def _certain(file: str, place: str, committed: str, obtained: str, reason: str) -> Finding:
    """A finding that fails whatever the rules say."""
    return Finding(file, place, committed, obtained, "", "", reason, math.inf)
