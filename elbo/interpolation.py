"""Straight lines in the latent plane, and what a judge sees along them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from elbo.classifier import Classifier
from elbo.critique import Verdicts, binarized, judge
from elbo.vae import VAE, straight_lines


@dataclass(frozen=True)
class Lines:
    """P lines of S steps each.

    Attributes:
        labels: (P, S) the judge's classes.
        confidence: (P, S).
        sure: (P, S) whether the judge is as confident as asked for.
        moves: (P, S-1) distance between consecutive decoded means, in pixel space (Euclidean).
        direct: (P,) distance between the decoded ends.
    """

    labels: Tensor
    confidence: Tensor
    sure: Tensor
    moves: Tensor
    direct: Tensor

    @property
    def transitions(self) -> Tensor:
        """(P,) how often the class changes from one step to the next, of the steps that are sure."""
        counts = []
        for labels, sure in zip(self.labels, self.sure, strict=True):
            seen = labels[sure]
            counts.append(int((seen[1:] != seen[:-1]).sum()))
        return torch.tensor(counts)

    @property
    def detour(self) -> Tensor:
        """(P,) the path's length over the distance of its ends; 1 if the images lie on a straight line."""
        return self.moves.sum(1) / self.direct.clamp(min=1e-12)

    @property
    def largest(self) -> Tensor:
        """(P,) the largest single step as a share of the path; 1 / (S-1) if all are equal."""
        return self.moves.amax(1) / self.moves.sum(1).clamp(min=1e-12)

    def summary(self) -> dict[str, float]:
        """Means over the lines; `unsure` is the share of steps that the judge cannot place."""
        return {
            "transitions": self.transitions.double().mean().item(),
            "unsure": (~self.sure).double().mean().item(),
            "detour": self.detour.mean().item(),
            "largest_step": self.largest.mean().item(),
        }

    def faithful(self, first: Tensor, second: Tensor) -> Tensor:
        """(P,) the share of steps that are sure to show one of two classes (P,): those of the ends."""
        ours = (self.labels == first[:, None]) | (self.labels == second[:, None])
        return (ours & self.sure).double().mean(1)


def follow(
    model: VAE, classifier: Classifier, starts: Tensor, ends: Tensor, steps: int, sure: float
) -> Lines:
    """Decodes and judges straight lines.

    Args:
        sure: the confidence from which on a verdict counts.
    """
    means = model.decode(straight_lines(starts, ends, steps).flatten(0, 1))
    seen: Verdicts = judge(classifier, binarized(means))
    images = means.unflatten(0, (len(starts), steps)).double()
    shape = (len(starts), steps)
    return Lines(
        seen.label.view(shape),
        seen.confidence.view(shape),
        (seen.confidence >= sure).view(shape),
        (images[:, 1:] - images[:, :-1]).norm(dim=2),
        (images[:, -1] - images[:, 0]).norm(dim=1),
    )


def between_centres(
    follow_lines: Callable[[Tensor, Tensor], Lines], means: Tensor, labels: Tensor
) -> tuple[list[tuple[int, int]], Lines]:
    """The pairs of classes that occur, and the lines from the first's centre to the second's.

    Args:
        follow_lines: from starts (P, 2) and ends (P, 2) to lines.
        means: (N, 2), of which a class's centre is the median.
        labels: (N,).
    """
    present = labels.unique().tolist()
    centres = {label: means[labels == label].median(0).values for label in present}
    pairs = list(itertools.combinations(present, 2))
    starts, ends = (torch.stack([centres[pair[end]] for pair in pairs]) for end in (0, 1))
    return pairs, follow_lines(starts, ends)


def by_pair(
    names: Sequence[str], pairs: Sequence[tuple[int, int]], of_centres: Lines, others: Lines
) -> list[dict[str, float | str | None]]:
    """Of each pair of classes: the line between its centres, and what happens on others that join it.

    Others join a pair if the judge is sure that their ends show its classes; `random_faithful` is None where
    no line does.
    """
    first, second = torch.tensor(pairs).T
    faithful = of_centres.faithful(first, second)
    low, high = others.labels[:, [0, -1]].sort(1).values.T
    clear = others.sure[:, 0] & others.sure[:, -1]
    of_others = others.faithful(low, high)
    rows: list[dict[str, float | str | None]] = []
    for place, (a, b) in enumerate(pairs):
        like = clear & (low == a) & (high == b)
        rows.append(
            {
                "first": names[a],
                "second": names[b],
                "faithful": faithful[place].item(),
                "transitions": int(of_centres.transitions[place]),
                "unsure": (~of_centres.sure[place]).double().mean().item(),
                "detour": of_centres.detour[place].item(),
                "largest_step": of_centres.largest[place].item(),
                "random_lines": int(like.sum()),
                "random_faithful": of_others[like].mean().item() if like.any() else None,
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
        for row in range(lines.labels.shape[0])
        for step in range(lines.labels.shape[1])
    ]
