"""Stage render_pipeline: the graph of the stages, read off dvc.yaml."""

from __future__ import annotations

from pathlib import Path

from pipeline.console import run, say
from pipeline.files import write_figure
from pipeline.graph import layers, stages
from plots import pipeline as plots


def main() -> None:
    graph = stages("stages/pipeline.yaml")  # dvc.yaml by a name that DVC takes for a dependency
    arrows = {name: sorted(graph.successors(name)) for name in graph}
    figure = plots.graph(layers(graph), arrows, "from dvc.yaml; the stages of a matrix are drawn as one")
    write_figure(Path("reports/figures/pipeline.png"), figure)
    say(f"pipeline: {len(graph)} kinds of stages in reports/figures/pipeline.png")


if __name__ == "__main__":
    run(main)
