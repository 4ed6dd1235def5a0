"""Reports from metrics files: a Jinja2 template makes Markdown, and the Markdown one self-contained page."""

from __future__ import annotations

import base64
import csv
import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.anchors import anchors_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin

from pipeline.console import damaged
from pipeline.files import read_json


def gather(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The metrics files (json) and tables (csv, a list of rows) of `folder`/name, by name and stem.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        if not (folder / name).is_dir():
            raise FileNotFoundError(2, "No such file or directory", str(folder / name))
        found[name] = {}
        for path in sorted((folder / name).iterdir()):
            if path.suffix in (".json", ".csv"):
                found[name][path.stem] = read_json(path) if path.suffix == ".json" else rows(path)
    return found


def rows(path: Path | str) -> list[dict[str, Any]]:
    """A table's rows; what reads as a number is one, an empty cell is None.

    Raises:
        UserError: it is damaged; it says how to have it made again.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            return [{key: _number(value) for key, value in row.items()} for row in reader]
    except (csv.Error, UnicodeDecodeError, TypeError) as error:  # TypeError: a row too short or too long
        raise damaged(path, error) from None


def _number(text: str) -> int | float | str | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text or None


def environment(folder: Path | str) -> Environment:
    """Jinja2 as the templates need it: a name that is not there is an error, and never an empty place."""
    made = Environment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "n": number,
        "share": share,
        "power": power,
        "words": words,
        "collapsed": collapsed,
        "extreme": extreme,
        "clear": clear,
    }
    return made


def render(templates: Environment, name: str, **context: Any) -> str:
    """A template's text, never with more than one empty line together, which the tags of a template leave."""
    text = templates.get_template(name).render(**context)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def number(value: float | None, decimals: int = 2, *, sign: bool = False) -> str:
    """A number as typeset: with a real minus, thousands apart by commas; – where there is none."""
    if value is None:
        return "–"
    text = f"{value:{'+' if sign else ''},.{decimals}f}"
    return text.replace("-", "−")


def share(value: float | None, decimals: int = 1) -> str:
    """A share as a percentage."""
    return "–" if value is None else f"{number(100 * value, decimals)} %"


def power(log10: float | None) -> str:
    """A positive number given by its decimal logarithm: 0.030, or 6.2·10⁻⁵."""
    if log10 is None:
        return "diverged"
    if log10 <= -300:
        return "0"
    if log10 >= -3:
        return number(10**log10, 3 if log10 < 1 else 1)
    exponent = int(log10 // 1)
    raised = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{10 ** (log10 - exponent):.1f}·10{raised}"


def words(items: Iterable[Any], last: str = "and") -> str:
    """`a, b and c`."""
    texts = [str(item) for item in items]
    return f" {last} ".join(filter(None, [", ".join(texts[:-1]), *texts[-1:]]))


def collapsed(items: Iterable[Any]) -> list[Any]:
    """Without immediate repetitions."""
    return [item for item, _ in itertools.groupby(items)]


def extreme(
    table: Sequence[dict[str, Any]], key: str, over: str | None = None, *, least: bool = False
) -> dict[str, Any]:
    """The row with the largest (or least) value of a column, or ratio of two; rows without one are out."""

    def value(row: dict[str, Any]) -> float:
        return float(row[key] / row[over] if over else row[key])

    known = [row for row in table if row[key] is not None and (over is None or row[over])]
    return (min if least else max)(known, key=value)


def clear(value: float, error: float) -> int:
    """1 or -1 for a value more than two standard errors above or below zero; 0 for one that may be zero."""
    return 0 if abs(value) <= 2 * error else 1 if value > 0 else -1


def to_html(markdown: str, folder: Path) -> tuple[str, list[tuple[str, str]]]:
    """The body of a page, pictures below `folder` inlined and formulas as MathML; and its sections.

    Raises:
        FileNotFoundError: a picture is not there.
    """
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    anchors_plugin(parser, min_level=2, max_level=3)
    dollarmath_plugin(parser, renderer=_formula, allow_digits=False)
    parser.add_render_rule("image", _picture(folder))
    parser.add_render_rule("table_open", lambda *_: '<div class="wide"><table>\n')
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    tokens = parser.parse(markdown)
    sections = [
        (str(token.attrs["id"]), tokens[place + 1].content)
        for place, token in enumerate(tokens)
        if token.type == "heading_open" and token.tag == "h2"
    ]
    return parser.renderer.render(tokens, parser.options, {}), sections


def _formula(text: str, options: dict[str, Any]) -> str:
    made = convert(text, display="block" if options["display_mode"] else "inline")
    # a thin space after a function's name, which the converter leaves out: log p and not logp
    return re.sub(r"(<mi>(?:log|max)</mi>)(?=<m(?:i|sub)>)", r'\1<mspace width="0.17em"/>', made)


def _picture(folder: Path) -> Any:
    def render(self: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        content = base64.b64encode((folder / str(tokens[index].attrs["src"])).read_bytes()).decode()
        alt = self.renderInlineAsText(tokens[index].children or [], options, env).replace('"', "&quot;")
        return f'<img src="data:image/png;base64,{content}" alt="{alt}">'

    return render
