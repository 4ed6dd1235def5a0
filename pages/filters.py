"""What the templates compute: numbers and words as text, and the rows of the tables of results."""

import functools
import itertools
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

RESULTS = ("training.csv", "elbo.json", "likelihood.json")  # of a variant


def number(value: float | None, decimals: int = 2, *, sign: bool = False) -> str:
    """A number with a minus sign, commas between thousands; – for None."""
    if value is None:
        return "–"
    value = round(value, decimals) + 0.0  # no minus zero
    return f"{value:{'+' if sign else ''},.{decimals}f}".replace("-", "−")


def share(value: float | None, decimals: int = 1) -> str:
    """A share as a percentage."""
    return "–" if value is None else f"{number(100 * value, decimals)} %"


def plus_minus(
    value: float | None, error: float | None, decimals: int = 2, *, percent: bool = False, sign: bool = False
) -> str:
    """A number ± its standard error, or a share in percent; without an error the number alone."""
    if value is None or error is None:
        return share(value) if percent else number(value, decimals, sign=sign)
    if percent:
        return f"{number(100 * value, 1)} ± {number(100 * error, 1)} %"
    return f"{number(value, decimals, sign=sign)} ± {number(error, decimals)}"


def power(log10: float | None) -> str:
    """A positive number given by its decimal logarithm: 0.030, or 6.2·10⁻⁵."""
    if log10 is None:
        return "diverged"
    if log10 <= -300:
        return "0"
    if log10 >= -3:
        return number(10**log10, 3 if log10 < 1 else 1)
    exponent = math.floor(log10)
    digits = f"{10 ** (log10 - exponent):.1f}"
    if digits == "10.0":
        digits, exponent = "1.0", exponent + 1
    raised = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{digits}·10{raised}"


def words(items: Iterable[Any], last: str = "and") -> str:
    """`a, b and c`."""
    texts = [str(item) for item in items]
    return f" {last} ".join(filter(None, [", ".join(texts[:-1]), *texts[-1:]]))


def extreme(
    table: Sequence[dict[str, Any]], key: str, over: str | None = None, *, least: bool = False
) -> dict[str, Any]:
    """The row with the largest (or least) value of a column, or ratio of two columns; others are ignored."""
    known = [row for row in table if row[key] is not None and (over is None or row[over])]
    return (min if least else max)(known, key=lambda row: row[key] / (row[over] if over else 1))


def clear(value: float, error: float) -> int:
    """1 or -1 for a value more than two standard errors above or below zero; 0 for one that may be zero."""
    return 0 if abs(value) <= 2 * error else 1 if value > 0 else -1


@dataclass(frozen=True)
class Row:
    label: str
    values: list[float | None]  # of each variant, in nats per image or as a share
    errors: Sequence[float] = ()  # their standard errors over images
    percent: bool = False

    @property
    def cells(self) -> list[str]:
        """The values as text, with ± their standard errors."""
        pairs = itertools.zip_longest(self.values, self.errors)
        return [plus_minus(value, error, percent=self.percent) for value, error in pairs]


def results(vae: Mapping[str, Mapping[str, Any]], notebook: Iterable[Mapping[str, Any]]) -> dict[str, Row]:
    """Results by name, each with a value of each variant.

    Args:
        vae: by variant, the content of its `RESULTS` by stem, as `render.gather` reads them.
        notebook: the rows of data/notebook_elbo.csv.
    """
    variants = list(vae.values())
    elbo, gaps = variants[0]["elbo"], variants[0]["likelihood"]["test"]["gaps"]
    ends = [found["training"][-1] for found in variants]
    epochs = {row["epoch"]: row["test_elbo"] for row in notebook} if elbo["dataset"] == "mnist" else {}

    def row(label: str, *path: str, error: bool = True) -> Row:
        places = [functools.reduce(operator.getitem, path[:-1], found) for found in variants]
        key = path[-1]
        errors = [place[f"{key}_se"] for place in places] if error else []
        return Row(label, [place[key] for place in places], errors, percent=key.endswith("share"))

    rows = {
        "train_end": Row("train ELBO, mean over the last epoch", [end["train_elbo"] for end in ends]),
        "test_end": Row("test ELBO after the last epoch, one sample", [end["test_elbo"] for end in ends]),
        "notebook_end": Row("… of the reference notebook", [epochs.get(end["epoch"]) for end in ends]),
        "elbo": row(f"test ELBO, {elbo['samples']} samples", "elbo", "test", "elbo"),
        "reconstruction": row("… reconstruction", "elbo", "test", "reconstruction", error=False),
        "kl": row("… KL", "elbo", "test", "kl", error=False),
    }
    for k in sorted(int(key.removeprefix("iwae_")) for key in elbo["test"] if key.startswith("iwae_")):
        if k > 1:  # 1 is the ELBO
            label = f"… importance-weighted bound (IWAE), k = {k}"
            rows[f"iwae_{k}"] = row(label, "elbo", "test", f"iwae_{k}", error=False)
    label = f"… recovered by ascent from the encoder's q ({number(gaps['images'], 0)} images)"
    train_label = f"train ELBO, {elbo['samples']} samples, {number(elbo['train']['images'], 0)} images"
    return rows | {
        "log_likelihood": row("exact log p(x) of the test images", "likelihood", "test", "log_likelihood"),
        "inference_gap": row("inference gap, log p(x) − ELBO", "likelihood", "test", "inference_gap"),
        "amortization_share": row(label, "likelihood", "test", "gaps", "amortization_share"),
        "train_elbo": row(train_label, "elbo", "train", "elbo", error=False),
    }
