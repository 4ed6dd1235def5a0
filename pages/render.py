"""Reports from metrics files: a Jinja2 template makes Markdown, and the Markdown one self-contained page."""

import base64
import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.token import Token
from mdit_py_plugins.anchors import anchors_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin

from pages import filters, models
from pages.names import dataset_title
from workflow.core.errors import damaged
from workflow.core.files import read_json

TEXT = ("class", "first", "second", "verdict", "most_often_as")  # columns with names of classes


def gather(folder: Path, names: Iterable[str], files: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Metrics (json) and tables (csv, a list of rows) of each `folder`/name, by name and the file's stem.

    Raises:
        FileNotFoundError: a file is missing.
    """
    readers = {".json": read_json, ".csv": rows}
    paths = {name: [folder / name / file for file in files] for name in names}
    return {name: {path.stem: readers[path.suffix](path) for path in paths[name]} for name in paths}


def rows(path: Path | str) -> list[dict[str, Any]]:
    """The rows of a csv file; numbers are converted, names of classes are not, an empty cell is None.

    Raises:
        UserError: the file is damaged.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            return [{key: _cell(key, value) for key, value in row.items()} for row in reader]
    except (csv.Error, UnicodeDecodeError, TypeError) as error:  # TypeError: a row too short or too long
        raise damaged(path, error) from None


def _cell(column: str, text: str) -> int | float | str | None:
    for kind in () if column in TEXT else (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text + "" or None  # a TypeError if the row is too short


def environment(folder: Path | str) -> Environment:
    """Jinja2 for the templates: an unknown name is an error, never an empty text."""
    templates = Environment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        autoescape=select_autoescape(["html.j2"], default=False),  # Markdown has `filters.escape`
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    named = ("share", "plus_minus", "power", "words", "fenced", "extreme", "clear", "results", "worst_error")
    templates.filters |= {"n": filters.number, "dataset_title": dataset_title}
    templates.filters |= {name: getattr(filters, name) for name in named}
    templates.filters |= {name: getattr(models, name) for name in ("architecture", "decoder", "objective")}
    templates.globals |= {"POSTERIORS": models.POSTERIORS, "FAMILIES": models.FAMILIES}
    templates.globals |= {"ESTIMATORS": models.ESTIMATORS}
    return templates


def render(templates: Environment, name: str, **context: Any) -> str:
    """A template's text with its figures numbered; several empty lines, as tags leave them, become one."""
    text = templates.get_template(name).render(**context)
    return re.sub(r"\n{3,}", "\n\n", numbered(text)).strip() + "\n"


def numbered(text: str) -> str:
    """Replaces each ⟦key⟧ by the number of the figure whose anchor is `figure-key`, in the text's order.

    Raises:
        KeyError: the text refers to a figure that it does not show.
    """
    keys = re.findall(r'<a id="figure-([\w-]+)">', text)
    numbers = {key: str(place) for place, key in enumerate(keys, 1)}
    return re.sub(r"⟦([\w-]+)⟧", lambda match: numbers[match[1]], text)


def to_html(markdown: str, folder: Path) -> tuple[str, list[tuple[str, str, str]]]:
    """Markdown as HTML, pictures below `folder` inlined, formulas as MathML; its headings (tag, id, title).

    A paragraph of pictures that begins with an anchor, and the caption below it, become a <figure>.

    Raises:
        FileNotFoundError: a picture is missing.
    """
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    anchors_plugin(parser, min_level=2, max_level=3)
    dollarmath_plugin(parser, renderer=_formula, allow_digits=False)
    parser.add_render_rule("image", _picture(folder))
    parser.add_render_rule("table_open", lambda *_: '<div class="wide"><table>\n')
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    # spaces at which no line may end; a narrow table may put "± …" below its number
    unbroken = r"(?<=\d) (?=%)|(?<=±) (?=\d)|(?<=\[Figure) (?=\d)"
    tokens = parser.parse(re.sub(unbroken, "\u00a0", markdown))
    headings = [
        (token.tag, str(token.attrs["id"]), tokens[place + 1].content)
        for place, token in enumerate(tokens)
        if token.type == "heading_open" and token.tag in ("h2", "h3")
    ]
    figure = r'<p><a id="(figure-[\w-]+)"></a>\s*(.*?)</p>\n<p><em>(.*?)</em></p>'
    html = r'<figure id="\1"><div>\2</div><figcaption>\3</figcaption></figure>'
    body = re.sub(figure, html, parser.renderer.render(tokens, parser.options, {}), flags=re.S)
    return body, headings


def _formula(text: str, options: dict[str, Any]) -> str:
    mathml = convert(text, display="block" if options["display_mode"] else "inline")
    # a thin space after a function's name, which the converter leaves out: log p and not logp
    return re.sub(r"(<mi>(?:log|max)</mi>)(?=<m(?:i|sub)>)", r'\1<mspace width="0.17em"/>', mathml)


def _picture(folder: Path) -> Any:
    def render(self: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        content = base64.b64encode((folder / str(tokens[index].attrs["src"])).read_bytes()).decode()
        alt = escapeHtml(self.renderInlineAsText(tokens[index].children or [], options, env))
        return f'<img src="data:image/png;base64,{content}" alt="{alt}">'

    return render
