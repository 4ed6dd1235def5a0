"""The stages of a pipeline as a graph, from top to bottom."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from plots import style

COLOURS = {"render": "#e3def2", "train": "#f7dfb8"}
SWEEPS = 8  # over all layers, each ordered by the mean place of its neighbours
BEND = 0.3  # of a layer's height: how far a long arrow runs straight down where it passes a layer

Passing = tuple[str, str, int]  # where an arrow from one stage to another passes a layer
Node = str | Passing
Chain = tuple[str, list[Passing], str]  # an arrow, and what it passes


def graph(layers: Sequence[Sequence[str]], arrows: Mapping[str, Sequence[str]], note: str) -> Figure:
    """Boxes by layer, the first on top, and arrows from each stage to those that read what it writes.

    An arrow over several layers has a place of its own in each that it passes, so that it crosses no box
    (Sugiyama, Tagawa and Toda 1981).

    Args:
        layers: the names of the stages of each layer.
        arrows: by stage, those that follow.
    """
    row = {name: number for number, layer in enumerate(layers) for name in layer}
    chains: list[Chain] = [
        (name, [(name, other, between) for between in range(row[name] + 1, row[other])], other)
        for name, following in arrows.items()
        for other in following
    ]
    full: list[list[Node]] = [list(layer) for layer in layers]
    for _, passes, _ in chains:
        for passed in passes:
            full[passed[2]].append(passed)
    places = _places(full, chains)
    widest = max(x for x, _ in places.values()) + 0.55
    fig = style.figure(1.45 * widest + 0.3, 0.95 * len(layers) + 0.4)
    axes = fig.subplots()
    axes.set_axis_off()
    axes.set(xlim=(0, widest), ylim=(-len(layers) + 0.45, 0.45))
    boxes = {}
    for name in row:
        colour = COLOURS.get(name.partition("_")[0], "#f1f1f1")
        label = axes.text(
            *places[name], name.replace("_", "_\n", 1) if len(name) > 11 else name, ha="center", va="center",
            fontsize=10, zorder=3,
            bbox={"boxstyle": "round,pad=0.35", "fc": colour, "ec": "#666666", "lw": 1},
        )  # fmt: skip
        boxes[name] = label.get_bbox_patch()
    look = {"arrowstyle": "-|>", "color": "#777777", "lw": 1.1, "shrinkA": 1, "shrinkB": 1}
    for start, passes, end in chains:
        corners = [places[start]]
        for passed in passes:
            x, y = places[passed]
            corners += [(x, y + BEND), (x, y - BEND)]
        if passes:  # the last piece alone has a head
            axes.add_patch(PathPatch(Path(corners), fill=False, ec="#777777", lw=1.1, zorder=1))
        ends = {"patchB": boxes[end]} | ({"shrinkA": 0} if passes else {"patchA": boxes[start]})
        axes.annotate("", places[end], corners[-1], zorder=1, arrowprops=look | ends)
    style.caption(fig, note)
    return fig


def _places(layers: Sequence[Sequence[Node]], chains: Sequence[Chain]) -> dict[Node, tuple[float, float]]:
    """x and y of each node; a stage takes a width of 1, a passing arrow of half of that."""
    neighbours: dict[Node, set[Node]] = {node: set() for layer in layers for node in layer}
    for start, passes, end in chains:
        way: list[Node] = [start, *passes, end]
        for node, other in itertools.pairwise(way):
            neighbours[node].add(other)
            neighbours[other].add(node)
    order = [list(layer) for layer in layers]

    def width(node: Node) -> float:
        return 1.0 if isinstance(node, str) else 0.5

    widest = max(sum(map(width, layer)) for layer in layers)

    def across() -> dict[Node, float]:
        x = {}
        for layer in order:
            free = (widest - sum(map(width, layer))) / len(layer)
            at = 0.0
            for node in layer:
                x[node] = at + (free + width(node)) / 2
                at += free + width(node)
        return x

    for _ in range(SWEEPS):
        for layer in (*order, *reversed(order)):
            x = across()
            near = {
                node: math.fsum(x[other] for other in neighbours[node]) / max(1, len(neighbours[node]))
                for node in layer
            }
            layer.sort(key=lambda node: (near[node], str(node)))
    x = across()
    return {node: (x[node], float(-row)) for row, layer in enumerate(order) for node in layer}
