"""Straight lines in the latent plane, and a judge's verdicts along them."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from elbo.analysis.critique import binarized, judge
from elbo.models.classifier import Classifier
from elbo.models.vae import VAE, straight_lines


@dataclass(frozen=True)
class Lines:
    """P lines of S steps each; distances are Euclidean, in pixel space."""

    labels: Tensor  # (P, S) the judge's classes
    confidence: Tensor  # (P, S)
    sure: Tensor  # (P, S) whether the confidence is high enough to count
    moves: Tensor  # (P, S-1) distance between consecutive decoded means
    direct: Tensor  # (P,) distance between the decoded ends

    @property
    def transitions(self) -> Tensor:
        """(P,) how often the class changes from one sure step to the next sure step."""
        lines = [labels[sure] for labels, sure in zip(self.labels, self.sure, strict=True)]
        return torch.tensor([int((line[1:] != line[:-1]).sum()) for line in lines])

    @property
    def detour(self) -> Tensor:
        """(P,) the path's length over the distance between its ends; 1 for a straight line of images."""
        return self.moves.sum(1) / self.direct.clamp(min=1e-12)

    @property
    def largest(self) -> Tensor:
        """(P,) the largest step as a share of the path; 1 / (S-1) if all steps are equal."""
        return self.moves.amax(1) / self.moves.sum(1).clamp(min=1e-12)

    def summary(self) -> dict[str, float]:
        """Means over the lines; `unsure` is the share of steps that are not sure."""
        return {
            "transitions": self.transitions.double().mean().item(),
            "unsure": (~self.sure).double().mean().item(),
            "detour": self.detour.mean().item(),
            "largest_step": self.largest.mean().item(),
        }

    def faithful(self, first: Tensor, second: Tensor) -> Tensor:
        """(P,) the share of steps that surely show one of two classes, `first` (P,) or `second` (P,)."""
        either = (self.labels == first[:, None]) | (self.labels == second[:, None])
        return (either & self.sure).double().mean(1)


def follow(
    model: VAE, classifier: Classifier, starts: Tensor, ends: Tensor, steps: int, sure: float
) -> Lines:
    """Decodes and judges straight lines from `starts` (P, 2) to `ends` (P, 2).

    Args:
        sure: the lowest confidence at which a verdict counts.
    """
    means = model.decode(straight_lines(starts, ends, steps).flatten(0, 1))
    verdicts, shape = judge(classifier, binarized(means)), (len(starts), steps)
    labels, confidence = verdicts.label.view(shape), verdicts.confidence.view(shape)
    images = means.unflatten(0, shape).double()
    moves = (images[:, 1:] - images[:, :-1]).norm(dim=2)
    return Lines(labels, confidence, confidence >= sure, moves, (images[:, -1] - images[:, 0]).norm(dim=1))


def between_centres(
    follow_lines: Callable[[Tensor, Tensor], Lines], means: Tensor, labels: Tensor
) -> tuple[list[tuple[int, int]], Lines]:
    """All pairs of the classes in `labels` (N,), and the lines between their centres.

    Args:
        follow_lines: from starts (P, 2) and ends (P, 2) to lines.
        means: (N, 2); a class's centre is their median.
    """
    present = labels.unique().tolist()
    centres = {label: means[labels == label].median(0).values for label in present}
    pairs = list(itertools.combinations(present, 2))
    starts, ends = (torch.stack([centres[pair[end]] for pair in pairs]) for end in (0, 1))
    return pairs, follow_lines(starts, ends)


def by_pair(
    names: Sequence[str], pairs: Sequence[tuple[int, int]], of_centres: Lines, others: Lines
) -> list[dict[str, float | str | None]]:
    """One row per pair of classes: the line between its centres, and the other lines that join the pair.

    A line joins a pair if the judge is sure that its ends show the two classes; without such a line
    `random_faithful` is None.
    """
    first, second = torch.tensor(pairs).T
    faithful = of_centres.faithful(first, second)
    low, high = others.labels[:, [0, -1]].sort(1).values.T
    clear = others.sure[:, 0] & others.sure[:, -1]
    random_faithful = others.faithful(low, high)
    rows: list[dict[str, float | str | None]] = []
    for place, (a, b) in enumerate(pairs):
        joins = clear & (low == a) & (high == b)
        rows.append(
            {
                "first": names[a],
                "second": names[b],
                "faithful": faithful[place].item(),
                "transitions": int(of_centres.transitions[place]),
                "unsure": (~of_centres.sure[place]).double().mean().item(),
                "detour": of_centres.detour[place].item(),
                "largest_step": of_centres.largest[place].item(),
                "random_lines": int(joins.sum()),
                "random_faithful": random_faithful[joins].mean().item() if joins.any() else None,
            }
        )
    return rows


def by_step(names: Sequence[str], lines: Lines) -> list[dict[str, float | str]]:
    """The verdict on each step of each line, both numbered from 1."""
    return [
        {
            "row": row + 1,
            "step": step + 1,
            "verdict": names[int(lines.labels[row, step])],
            "confidence": lines.confidence[row, step].item(),
            "sure": int(lines.sure[row, step]),
        }
        for row, step in itertools.product(*map(range, lines.labels.shape))
    ]
