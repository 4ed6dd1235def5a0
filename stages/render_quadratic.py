"""Stage render_quadratic@NAME: the losses and paths of a quadratic's optimizers."""

from __future__ import annotations

from pathlib import Path

from pipeline.console import argument, run, say
from pipeline.params import load
from pipeline.pictures import write_figure
from pipeline.tables import read_csv
from plots import quadratic as plots
from stages.schema import Params


def main() -> None:
    name = argument("quadratic")
    (settings,) = load(Params, f"quadratic.{name}")
    report = Path("reports/quadratic", name)
    trajectory, losses, comparison = (
        read_csv(report / f"{table}.csv") for table in ("trajectory", "losses", "comparison")
    )
    title = name.replace("_", "-")
    draw = plots.path if len(settings.a) == 2 else plots.coordinates
    figures = {
        "path": draw(trajectory, settings.a, settings.lr, title),
        "loss": plots.loss(trajectory, settings.lr, title),
        "optimizers": plots.optimizers(losses, comparison, title),
    }
    for what, figure in figures.items():
        write_figure(Path("reports/figures", f"quadratic_{name}_{what}.png"), figure)
    say(f"{name}: {len(figures)} figures in reports/figures/quadratic_{name}_*.png")


if __name__ == "__main__":
    run(main)
