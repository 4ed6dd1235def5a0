"""Stage render_quadratic@NAME: the losses and paths of a quadratic's optimizers."""

from pages.figures import write_figures
from plots import quadratic as plots
from stages.schema import Params
from workflow.core.params import load
from workflow.core.tables import read_csv
from workflow.runs.console import say


def main(name: str) -> None:
    a, lr = load(Params, f"quadratic.{name}.a", f"quadratic.{name}.lr")
    trajectory, losses, comparison = (
        read_csv(f"reports/quadratic/{name}/{table}.csv") for table in ("trajectory", "losses", "comparison")
    )
    title = name.replace("_", "-")
    draw = plots.path if len(a) == 2 else plots.coordinates
    figures = {
        "path": draw(trajectory, a, lr, title),
        "loss": plots.loss(trajectory, lr, title),
        "optimizers": plots.optimizers(losses, comparison, title),
    }
    write_figures(f"reports/figures/quadratic/{name}", figures)
    say(f"{name}: {len(figures)} figures in reports/figures/quadratic/{name}")
