"""Stage render_report: the results first, then all numbers and figures, as Markdown and as one page."""

from pathlib import Path
from typing import Any

from pages.filters import escape, is_exact
from pages.models import measured
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
        "estimators.csv",
        "families.csv",
        "likelihood.json",
        "likelihood_by_class.csv",
        "model.json",
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
    """The variables of the templates: results by family and name, params, and the notebook's facts.

    What a project has no results of is left out of the report: `quadratic` or `classifier.annuli` that
    params.yaml does not name, and what needs labels (`labelled`), a plane of latents (`planes`), or a wider
    latent (`wides`).
    """
    params = read_yaml()
    found: dict[str, Any] = {
        family: escape(gather(REPORTS / family, params.get(family, {}), files))
        for family, files in FILES.items()
    }
    vae = found["vae"]
    falling = sorted(vae, key=lambda name: -vae[name]["elbo"]["test"]["elbo"])
    planes = [name for name in vae if is_exact(vae[name]["likelihood"])]
    return {
        **found,
        "names": list(vae),
        "best": falling[0],
        "best_plane": next((name for name in falling if name in planes), None),
        "planes": planes,
        "wides": [name for name in vae if name not in planes],
        "by_dimension": [name for name in vae if vae[name]["model"]["test"]["kl_by_dimension"]],
        "labelled": found["classifier"]["images"]["metrics"].get("labels", True),
        "families": {
            name: {row["family"]: row for row in vae[name]["families"] if row["split"] == "test"}
            for name in vae
        },
        "measured": measured(escape(params["vae"])),
        "differences": read_json(REPORTS / "vae_differences.json"),
        "dataset": vae[falling[0]]["elbo"],
        "notebook": {"elbo": rows("data/notebook_elbo.csv"), "facts": read_json("data/notebook_facts.json")},
        "search": escape(search := rows("data/search.csv")),
        "searched": "tuned" in vae and is_searched(params["vae"]["tuned"], search[0]),
        "params": escape(params),
        "params_text": PARAMS.read_text(encoding="utf-8"),
    }
