"""The graph of a pipeline's stages as dvc.yaml writes it, each family of a matrix being one stage."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import networkx as nx


def stages(path: Path | str = "dvc.yaml") -> nx.DiGraph[str]:
    """Nodes are stages, arrows go from the stage that writes a file to those that declare to read it.

    What follows from other arrows is left out (the transitive reduction).
    """
    from ruamel.yaml import YAML

    content = YAML(typ="safe", pure=True).load(Path(path).read_text(encoding="utf-8"))
    graph: nx.DiGraph[str] = nx.DiGraph()
    parts = {name: stage.get("do", stage) for name, stage in content["stages"].items()}
    outputs = {name: [*_outputs(stage)] for name, stage in parts.items()}
    for name, stage in content["stages"].items():
        graph.add_node(name)
        members = stage["foreach"].values() if "foreach" in stage else [""]
        for dep in parts[name].get("deps", []):
            for read in {_pattern(dep.replace("${item}", str(member))) for member in members}:
                for maker, made in outputs.items():
                    if any(_meet(read, written) for written in made):
                        graph.add_edge(maker, name)
    return nx.transitive_reduction(graph)


def _outputs(stage: dict[str, Any]) -> Iterator[str]:
    for kind in ("outs", "metrics", "plots"):
        for entry in stage.get(kind, []):
            yield _pattern(entry if isinstance(entry, str) else next(iter(entry)))


def _pattern(path: str) -> str:
    return re.sub(r"\$\{[^}]*\}", "*", path)


def _meet(read: str, written: str) -> bool:
    """Whether a path that is read is, or holds, or lies in, one that is written."""
    return any(
        fnmatchcase(one, other) or fnmatchcase(one, f"{other}/*")
        for one, other in ((read, written), (written, read))
    )


def layers(graph: nx.DiGraph[str]) -> list[list[str]]:
    """The stages in layers, each as late as those that follow it allow; arrows go to later layers only."""
    from_the_end = list(nx.topological_generations(graph.reverse()))
    return [sorted(layer) for layer in reversed(from_the_end)]
