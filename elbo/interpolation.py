"""Straight lines in the latent plane, and what a judge sees along them."""

from __future__ import annotations

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
