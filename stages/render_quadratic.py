"""Stage render_quadratic@NAME: the path and the losses of a quadratic's optimizers."""

from pages.figures import write_figures
from plots.exercises import optimizers
from stages.schema import Params
from workflow.core.params import load
from workflow.core.tables import read_csv
from workflow.runs.console import say


def main(name: str) -> None:
    a, lr = load(Params, f"quadratic.{name}.a", f"quadratic.{name}.lr")
    trajectory, losses, comparison = (
        read_csv(f"reports/quadratic/{name}/{table}.csv") for table in ("trajectory", "losses", "comparison")
    )
    figures = {"optimizers": optimizers(trajectory, losses, comparison, a, lr)}
    write_figures(f"reports/figures/quadratic/{name}", figures)
    say(f"{name}: reports/figures/quadratic/{name}/optimizers.png")
