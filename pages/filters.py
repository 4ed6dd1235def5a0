"""What the templates compute: numbers and words as text, and the rows of the tables of results."""

import functools
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

RESULTS = ("training.csv", "elbo.json", "likelihood.json")  # of a variant
UNMARKED = ("⟦", "⟦\u2060")  # not the mark of a figure's number
# of Markdown, HTML and formulas; a _ between two letters means nothing there
SPECIAL = re.compile(r"([\\`*\[\]<>|~$#&]|(?<![^\W_])_|_(?![^\W_]))")


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


def escape(value: Any) -> Any:
    """A value of a file, at any depth, with text that Markdown shows as it is: a class may be `<b>|a`."""
    if isinstance(value, str):
        text = "".join(letter if letter.isprintable() else "\ufffd" for letter in " ".join(value.split()))
        return SPECIAL.sub(r"\\\1", text).replace(*UNMARKED)
    if isinstance(value, dict):
        return {key: escape(item) for key, item in value.items()}
    return [escape(item) for item in value] if isinstance(value, list) else value


def fenced(text: str, language: str) -> str:
    """The text of a file as a block of code, which no line of the text can end."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return "\n".join([fence + language, text.strip().replace(*UNMARKED), fence])


def extreme(
    table: Sequence[dict[str, Any]], key: str, over: str | None = None, *, least: bool = False
) -> dict[str, Any]:
    """The row with the largest (or least) value of a column, or ratio of two columns; others are ignored.

    If none has a value, a row of – without one.
    """
    known = [row for row in table if row[key] is not None and (over is None or row[over])]
    if not known:
        return dict.fromkeys(table[0], "–") | {key: None}
    return (min if least else max)(known, key=lambda row: row[key] / (row[over] if over else 1))


def clear(value: float, error: float | None) -> int:
    """1 or -1 for a value more than two standard errors above or below zero; 0 for one that may be zero."""
    return 0 if error is None or abs(value) <= 2 * error else 1 if value > 0 else -1


def is_exact(likelihood: Mapping[str, Any]) -> bool:
    """Whether a likelihood.json holds log p(x) itself: by quadrature, and no lower bound by sampling."""
    return "method" not in likelihood


def worst_error(likelihood: Mapping[str, Any]) -> float:
    """The largest numerical error of log p(x) by quadrature, over images and splits, nats; 0 without it."""
    return max(
        (split["quadrature_error"] for split in likelihood.values() if "quadrature_error" in split),
        default=0.0,
    )


@dataclass(frozen=True)
class Row:
    label: str
    values: list[float | None]  # of each variant, in nats per image or as a share
    errors: Sequence[float | None] = ()  # their standard errors over images
    percent: bool = False
    bounds: Sequence[bool] = ()  # which values are lower bounds

    @property
    def cells(self) -> list[str]:
        """The values as text, with ± their standard errors, and ≥ before a lower bound."""
        return [
            ("≥ " if bound else "") + plus_minus(value, error, percent=self.percent)
            for value, error, bound in itertools.zip_longest(self.values, self.errors, self.bounds)
        ]


def results(vae: Mapping[str, Mapping[str, Any]], notebook: Iterable[Mapping[str, Any]]) -> dict[str, Row]:
    """Results by name, each with a value of each variant.

    Args:
        vae: by variant, the content of its `RESULTS` by stem, as `render.gather` reads them.
        notebook: the rows of data/notebook_elbo.csv.
    """
    variants = list(vae.values())
    elbo = variants[0]["elbo"]
    bounds = [not is_exact(found["likelihood"]) for found in variants]
    ends = [found["training"][-1] for found in variants]
    epochs = {row["epoch"]: row["test_elbo"] for row in notebook} if elbo["dataset"] == "mnist" else {}

    def row(label: str, *path: str, error: bool = True, bounds: Sequence[bool] = ()) -> Row:
        places = [functools.reduce(lambda at, key: at.get(key, {}), path[:-1], found) for found in variants]
        key = path[-1]
        errors = [place.get(f"{key}_se") for place in places] if error else []
        values = [place.get(key) for place in places]
        return Row(label, values, errors, percent=key.endswith("share"), bounds=bounds)

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
    counts = [number(found["likelihood"]["test"]["images"], 0) for found in variants]
    at_least = f"at least (≥, {words(dict.fromkeys(itertools.compress(counts, bounds)), 'or')} images)"
    exact = "exact log p(x) of the test images"
    label = (
        exact if not any(bounds) else f"log p(x), {at_least}" if all(bounds) else f"{exact}, or {at_least}"
    )
    rows |= {
        "log_likelihood": row(label, "likelihood", "test", "log_likelihood", bounds=bounds),
        "inference_gap": row(
            "inference gap, log p(x) − ELBO", "likelihood", "test", "inference_gap", bounds=bounds
        ),
    }
    if gaps := [found["likelihood"]["test"]["gaps"] for found in variants if is_exact(found["likelihood"])]:
        label = f"… recovered by ascent from the encoder's q ({number(gaps[0]['images'], 0)} images)"
        rows["amortization_share"] = row(label, "likelihood", "test", "gaps", "amortization_share")
    label = f"train ELBO, {elbo['samples']} samples, {number(elbo['train']['images'], 0)} images"
    return rows | {"train_elbo": row(label, "elbo", "train", "elbo", error=False)}
