"""Lines between latents, and a judge's verdicts along them."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from elbo.analysis.critique import binarized, judge
from elbo.models.classifier import Classifier
from elbo.models.vae import VAE, straight_lines


@dataclass(frozen=True)
class Path:
    """P lines of S steps each; distances are Euclidean, in pixel space."""

    moves: Tensor  # (P, S-1) distance between consecutive decoded means
    direct: Tensor  # (P,) distance between the decoded ends

    @property
    def detour(self) -> Tensor:
        """(P,) the path's length over the distance between its ends; 1 for a straight line of images."""
        return self.moves.sum(1) / self.direct.clamp(min=1e-12)

    @property
    def largest(self) -> Tensor:
        """(P,) the largest step as a share of the path; 1 / (S-1) if all steps are equal."""
        return self.moves.amax(1) / self.moves.sum(1).clamp(min=1e-12)

    def summary(self) -> dict[str, float]:
        """Means over the lines."""
        return {"detour": self.detour.mean().item(), "largest_step": self.largest.mean().item()}


@dataclass(frozen=True)
class Lines(Path):
    """Lines with the judge's verdicts."""

    labels: Tensor  # (P, S) the judge's classes
    confidence: Tensor  # (P, S)
    sure: Tensor  # (P, S) whether the confidence is high enough to count

    @property
    def transitions(self) -> Tensor:
        """(P,) how often the class changes from one sure step to the next sure step."""
        lines = [labels[sure] for labels, sure in zip(self.labels, self.sure, strict=True)]
        return torch.tensor([int((line[1:] != line[:-1]).sum()) for line in lines])

    def summary(self) -> dict[str, float]:
        """Means over the lines; `unsure` is the share of steps that are not sure."""
        return super().summary() | {
            "transitions": self.transitions.double().mean().item(),
            "unsure": (~self.sure).double().mean().item(),
        }

    def faithful(self, first: Tensor, second: Tensor) -> Tensor:
        """(P,) the share of steps that surely show one of two classes, `first` (P,) or `second` (P,)."""
        either = (self.labels == first[:, None]) | (self.labels == second[:, None])
        return (either & self.sure).double().mean(1)


def great_circles(starts: Tensor, ends: Tensor, steps: int) -> Tensor:
    """Latents from starts (P, D) to ends (P, D), ends included, whose direction turns evenly: (P, steps, D).

    In many dimensions nearly all of the prior's latents are about √D from the origin, but the middle of a
    straight line between two of them only about √(D/2), where the decoder was not trained. So directions
    follow a great circle, (sin((1 − t) θ) u + sin(t θ) v) / sin θ (Shoemake 1985; for latents White 2016),
    and norms change evenly. Between equal or opposite directions the line is straight.
    """
    share = torch.linspace(0, 1, steps)[:, None]
    first, last = (z.norm(dim=1, keepdim=True).clamp(min=1e-12) for z in (starts, ends))
    u, v = (starts / first)[:, None], (ends / last)[:, None]
    angle = (u * v).sum(2, keepdim=True).clamp(-1, 1).acos()
    norm = first[:, None] + share * (last - first)[:, None]
    curved = (
        norm * (((1 - share) * angle).sin() * u + (share * angle).sin() * v) / angle.sin().clamp(min=1e-12)
    )
    return torch.where(angle.sin() > 1e-2, curved, straight_lines(starts, ends, steps))


def lines(starts: Tensor, ends: Tensor, steps: int) -> Tensor:
    """Lines between latents (P, D), (P, steps, D): straight in a plane, great circles in more dimensions."""
    return (straight_lines if starts.shape[1] == 2 else great_circles)(starts, ends, steps)


def decode(model: VAE, starts: Tensor, ends: Tensor, steps: int) -> Tensor:
    """The images (P · steps, pixels) on the lines from `starts` (P, D) to `ends` (P, D)."""
    return model.decode(lines(starts, ends, steps).flatten(0, 1))


def measure(means: Tensor, steps: int) -> Path:
    """The lengths of lines of decoded images (P · steps, pixels)."""
    images = means.unflatten(0, (-1, steps)).double()
    moves = (images[:, 1:] - images[:, :-1]).norm(dim=2)
    return Path(moves, (images[:, -1] - images[:, 0]).norm(dim=1))


def follow(
    model: VAE, classifier: Classifier, starts: Tensor, ends: Tensor, steps: int, sure: float
) -> Lines:
    """Decodes and judges the lines from `starts` (P, D) to `ends` (P, D).

    Args:
        sure: the lowest confidence at which a verdict counts.
    """
    means = decode(model, starts, ends, steps)
    verdicts, shape = judge(classifier, binarized(means)), (len(starts), steps)
    labels, confidence = verdicts.label.view(shape), verdicts.confidence.view(shape)
    path = measure(means, steps)
    return Lines(path.moves, path.direct, labels, confidence, confidence >= sure)


def between_centres(
    follow_lines: Callable[[Tensor, Tensor], Lines], means: Tensor, labels: Tensor
) -> tuple[list[tuple[int, int]], Lines]:
    """All pairs of the classes in `labels` (N,), and the lines between their centres.

    Args:
        follow_lines: from starts (P, D) and ends (P, D) to lines.
        means: (N, D); a class's centre is their median.
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
    transitions, detour, largest = of_centres.transitions, of_centres.detour, of_centres.largest
    unsure = (~of_centres.sure).double().mean(1)
    rows: list[dict[str, float | str | None]] = []
    for place, (a, b) in enumerate(pairs):
        joins = clear & (low == a) & (high == b)
        rows.append(
            {
                "first": names[a],
                "second": names[b],
                "faithful": faithful[place].item(),
                "transitions": int(transitions[place]),
                "unsure": unsure[place].item(),
                "detour": detour[place].item(),
                "largest_step": largest[place].item(),
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
