"""The stages of a pipeline as a graph, from top to bottom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from plots import style

COLOURS = {"render": "#e3def2", "train": "#f7dfb8"}
SWEEPS = 8  # over all layers, each ordered by the mean place of its neighbours


def graph(layers: Sequence[Sequence[str]], arrows: Mapping[str, Sequence[str]], note: str) -> Figure:
    """Boxes by layer, the first on top, and arrows from each stage to those that read what it writes.

    Args:
        layers: the names of the stages of each layer.
        arrows: by stage, those that follow.
    """
    widest = max(map(len, layers))
    fig = style.figure(1.45 * widest + 0.3, 0.95 * len(layers) + 0.4)
    axes = fig.subplots()
    axes.set_axis_off()
    axes.set(xlim=(0, widest), ylim=(-len(layers) + 0.45, 0.45))
    places = _places(layers, arrows, widest)
    boxes = {}
    for name, (x, y) in places.items():
        colour = COLOURS.get(name.partition("_")[0], "#f1f1f1")
        label = axes.text(
            x, y, name.replace("_", "_\n", 1) if len(name) > 11 else name, ha="center", va="center",
            fontsize=10, zorder=3,
            bbox={"boxstyle": "round,pad=0.35", "fc": colour, "ec": "#666666", "lw": 1},
        )  # fmt: skip
        boxes[name] = label.get_bbox_patch()
    for name, following in arrows.items():
        for other in following:
            axes.annotate(
                "", places[other], places[name], zorder=1,
                arrowprops={
                    "arrowstyle": "-|>", "color": "#777777", "lw": 1.1, "shrinkA": 1, "shrinkB": 1,
                    "patchA": boxes[name], "patchB": boxes[other],
                },
            )  # fmt: skip
    style.caption(fig, note)
    return fig


def _places(
    layers: Sequence[Sequence[str]], arrows: Mapping[str, Sequence[str]], widest: int
) -> dict[str, tuple[float, float]]:
    neighbours: dict[str, set[str]] = {name: set(following) for name, following in arrows.items()}
    for name, following in arrows.items():
        for other in following:
            neighbours[other].add(name)
    order = [list(layer) for layer in layers]

    def across() -> dict[str, float]:
        return {
            name: (column + 0.5) * widest / len(layer) for layer in order for column, name in enumerate(layer)
        }

    def middle(name: str, x: Mapping[str, float]) -> tuple[float, str]:
        near = neighbours[name]
        return (sum(x[other] for other in near) / len(near) if near else x[name], name)

    for _ in range(SWEEPS):
        for layer in order:
            x = across()
            layer.sort(key=lambda name: middle(name, x))
    x = across()
    return {name: (x[name], float(-row)) for row, layer in enumerate(order) for name in layer}
