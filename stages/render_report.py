"""Stage render_report: the results first, then all numbers and figures, as Markdown and as one page."""

from pathlib import Path
from typing import Any

from pages.names import is_searched
from pages.render import environment, gather, render, rows, to_html
from stages.schema import Params
from workflow.core.files import PARAMS, read_json, read_yaml, write_bytes
from workflow.core.params import load
from workflow.runs.console import say

TEMPLATES = Path("pages/templates")
REPORTS = Path("reports")
# What the templates read of each member.
FILES = {
    "quadratic": ("metrics.json", "comparison.csv", "rotated.csv"),
    "classifier": ("metrics.json", "training.csv"),
    "vae": (
        "training.csv",
        "elbo.json",
        "elbo_by_class.csv",
        "likelihood.json",
        "likelihood_by_class.csv",
        "critique.json",
        "critique_by_class.csv",
        "latents.json",
        "latents_by_class.csv",
        "latents_pairs.csv",
        "interpolations.json",
        "interpolation_pairs.csv",
    ),
}


def main() -> None:
    load(Params)
    templates = environment(TEMPLATES)
    text = render(templates, "report.md.j2", **context())
    body, headings = to_html(text, REPORTS)
    title = text.removeprefix("# ").partition("\n")[0]
    page = templates.get_template("page.html.j2").render(title=title, headings=headings, body=body)
    write_bytes(REPORTS / "README.md", text.encode())
    write_bytes(REPORTS / "report.html", page.encode())
    say(f"report: reports/README.md, and reports/report.html ({len(page) / 1e6:.1f} MB)")


def context() -> dict[str, Any]:
    """The variables of the templates: results by family and name, params, and the notebook's facts."""
    params = read_yaml()
    found = {family: gather(REPORTS / family, params[family], files) for family, files in FILES.items()}
    elbo = {name: results["elbo"] for name, results in found["vae"].items()}
    return {
        **found,
        "names": list(elbo),
        "best": max(elbo, key=lambda name: elbo[name]["test"]["elbo"]),
        "differences": read_json(REPORTS / "vae_differences.json"),
        "dataset": next(iter(elbo.values())),
        "notebook": {"elbo": rows("data/notebook_elbo.csv"), "facts": read_json("data/notebook_facts.json")},
        "search": (search := rows("data/search.csv")),
        "searched": "tuned" in elbo and is_searched(params["vae"]["tuned"], search[0]),
        "params": params,
        "params_text": PARAMS.read_text(encoding="utf-8"),
    }
