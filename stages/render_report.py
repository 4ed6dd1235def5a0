"""Stage render_report: all numbers and figures in the order of the notebook, as Markdown and as one page.

It draws one picture of its own: the graph of the stages, read off dvc.yaml.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.console import run, say
from pipeline.files import read_json, write_bytes
from pipeline.graph import layers, stages
from pipeline.params import PARAMS, load, read
from pipeline.pictures import write_figure
from pipeline.report import environment, gather, render, rows, to_html
from plots.pipeline import graph
from stages.schema import Params

TEMPLATES = Path("stages/report")
REPORTS = Path("reports")
PIPELINE = "stages/pipeline.yaml"  # dvc.yaml by a name that DVC takes for a dependency


def main() -> None:
    load(Params)
    pipeline = stages(PIPELINE)
    arrows = {name: sorted(pipeline.successors(name)) for name in pipeline}
    figure = graph(layers(pipeline), arrows, "from dvc.yaml; the stages of a matrix are drawn as one")
    write_figure(REPORTS / "pipeline.png", figure)
    templates = environment(TEMPLATES)
    text = render(templates, "report.md.j2", **context())
    body, sections = to_html(text, REPORTS)
    title = text.removeprefix("# ").partition("\n")[0]
    page = templates.get_template("page.html.j2").render(title=title, sections=sections, body=body)
    write_bytes(REPORTS / "README.md", text.encode())
    write_bytes(REPORTS / "report.html", page.encode())
    say(f"report: reports/README.md, and reports/report.html ({len(page) / 1e6:.1f} MB)")


def context() -> dict[str, Any]:
    """What the templates speak of: metrics and tables by family and name, params, the notebook's facts."""
    params = read()
    families = ("quadratic", "classifier", "vae")
    found = {family: gather(REPORTS / family, params[family]) for family in families}
    first = next(iter(found["vae"].values()))
    return {
        **found,
        "differences": read_json(REPORTS / "vae_differences.json"),
        "dataset": first["elbo"],
        "notebook": {"elbo": rows("data/notebook_elbo.csv"), "facts": read_json("data/notebook_facts.json")},
        "params": params,
        "params_text": PARAMS.read_text(encoding="utf-8"),
    }


if __name__ == "__main__":
    run(main)
