"""Lower bounds of log p(x) of the images of a split, by all estimators, for a latent of any dimension."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from elbo.bounds import mean_and_error
from elbo.determinism import stream
from elbo.estimates import annealing, importance, refined
from elbo.estimates.annealing import Annealed
from elbo.estimates.importance import Curve
from elbo.estimates.model import bernoulli, join
from elbo.estimates.psis import largest_trusted
from elbo.estimates.refined import FAMILIES, Refined
from elbo.models.vae import VAE, from_prior

T = TypeVar("T")
COLUMNS = ("estimator", "k", "images", "bound", "bound_se", "pareto_k", "trusted")  # of `by_estimator`
OWN_FAMILY = {"diagonal": 1, "full": 2}  # the row of the best posterior of the encoder's family; else 3


class Track(Protocol):
    """Shows progress: an iterable of `total` results, as it is."""

    def __call__(self, items: Iterable[T], *, total: int) -> Iterable[T]: ...


class Annealing(annealing.Settings, Protocol):
    """Of annealed importance sampling; params.yaml documents each value."""

    @property
    def images(self) -> int: ...
    @property
    def tuned(self) -> int: ...
    @property
    def simulated(self) -> int: ...


class Settings(Protocol):
    """Of all estimators; params.yaml documents each value."""

    @property
    def images(self) -> int: ...
    @property
    def every(self) -> refined.Settings: ...
    @property
    def curve(self) -> Sequence[int]: ...
    @property
    def refined(self) -> refined.Settings: ...
    @property
    def annealed(self) -> Annealing: ...


@dataclass(frozen=True)
class Estimates:
    """Lower bounds for N images, and for a subset of M by estimators that cost more; nats, float64."""

    settings: Settings
    elbo: Tensor  # (N,)
    every: Tensor  # (N,) by the best diagonal Gaussian
    every_pareto_k: Tensor  # (N,) of these weights
    subset: Tensor  # (M,) its images
    curve: Curve  # of the subset
    refined: Refined  # of the subset
    posterior: str  # the encoder's family

    @property
    def families(self) -> list[str]:
        """Names of the rows of `refined`."""
        return [*FAMILIES, f"best {self.posterior}"][: len(self.refined.elbo)]

    @property
    def best(self) -> int:
        """The row of `refined` with the highest mean ELBO: not of the bound, which the choice would bias."""
        return int(self.refined.elbo.mean(1).argmax())

    @property
    def bound(self) -> Tensor:
        """(M,) a lower bound of the subset's log p(x), by the proposals of row `best`."""
        return self.refined.bound[self.best]

    @property
    def arrays(self) -> dict[str, Tensor]:
        """Bounds by image: of all, and the best ones of the subset."""
        return {"log_likelihood": self.every, "subset": self.subset, "bound": self.bound}

    def means(self, chosen: Tensor) -> dict[str, Any]:
        """Means over the images of the subset that `chosen` (N,) bool marks: the bound, the ELBO, the gaps.

        inference = approximation + amortization, by the ELBOs of the encoder's q and of the best posterior of
        its family that was found. Gaps are distances to the bound, so the inference gap is a lower bound.
        """
        own = chosen[self.subset]
        bound, elbo = self.bound[own], self.elbo[self.subset][own]
        encoder = self.refined.elbo[0, own]
        best = self.refined.elbo[OWN_FAMILY.get(self.posterior, 3), own]
        return {
            "images": int(own.sum()),
            **mean_and_error("log_likelihood", bound),
            **mean_and_error("elbo", elbo),
            **mean_and_error("inference_gap", bound - elbo),
            "gap_images": int(own.sum()),
            **mean_and_error("inference", bound - encoder),
            **mean_and_error("approximation", bound - best),
            **mean_and_error("amortization", best - encoder),
        }

    def by_family(self) -> list[dict[str, Any]]:
        """The mean ELBO of the encoder's q and of the best of each family, and their gap to the bound."""
        return [
            {
                "family": name,
                "images": len(elbo),
                **mean_and_error("elbo", elbo),
                **mean_and_error("gap", self.bound - elbo),
            }
            for name, elbo in zip(self.families, self.refined.elbo, strict=True)
        ]

    def by_estimator(self) -> list[dict[str, Any]]:
        """The mean bound of each estimator with k samples, the median Pareto k, and the share of images below
        the largest Pareto k that so many samples allow to trust."""
        samples, ks = self.settings.refined.samples, sorted(self.settings.curve)
        every = "best diagonal, all images"
        rows = [_row(every, self.settings.every.samples, self.every, self.every_pareto_k)]
        for k, bound in zip(ks, self.curve.bound, strict=True):
            rows.append(_row("iwae", k, bound, self.curve.pareto_k if k == ks[-1] else None))
        for name, bound, pareto_k in zip(
            self.families, self.refined.bound, self.refined.pareto_k, strict=True
        ):
            rows.append(_row(name, samples, bound, pareto_k))
        return rows

    def summary(self) -> dict[str, Any]:
        """The metrics of the subset: the best lower bound of log p(x), and which estimator it is."""
        row = self.means(torch.ones(len(self.elbo), dtype=torch.bool))
        kept = ("images", "log_likelihood", "elbo", "inference_gap")
        found = {name: value for name, value in row.items() if name.removesuffix("_se") in kept}
        names = ("estimator", "k")
        estimators = {
            f"{row['estimator']}, k = {row['k']}": {
                name: value for name, value in row.items() if name not in names
            }
            for row in self.by_estimator()
        }
        about = {"log_likelihood_by": self.families[self.best], "log_likelihood_is": "a lower bound"}
        return found | about | {"estimators": estimators}


def _row(name: str, samples: int, bound: Tensor, pareto_k: Tensor | None = None) -> dict[str, Any]:
    tail: dict[str, float | None] = {"pareto_k": None, "trusted": None}
    if pareto_k is not None:
        trusted = pareto_k < largest_trusted(samples)
        tail = {"pareto_k": pareto_k.median().item(), "trusted": trusted.double().mean().item()}
    return {
        "estimator": name,
        "k": samples,
        "images": len(bound),
        **mean_and_error("bound", bound),
        **tail,
    }


def _joined(parts: Iterable[T], images: int, size: int, track: Track) -> T:
    """The results of all images, of batches of `size`."""
    return join(track(parts, total=-(-images // size)))


def choice(images: int, count: int, seed: int, split: str) -> Tensor:
    """(count,) a fixed random choice of images, ascending; a smaller one is part of a larger one."""
    return torch.randperm(images, generator=stream(seed, f"subset {split}"))[:count].sort().values


def evaluate(
    model: VAE, x: Tensor, elbo: Tensor, settings: Settings, seed: int, split: str, track: Track
) -> Estimates:
    """log p(x) of images (N, pixels) of a split with ELBOs (N,), and in more ways of a choice of them."""
    subset = choice(len(x), settings.images, seed, split)
    encode, likelihood, few = model.encoder, bernoulli(model.decoder), x[subset]
    noise = [stream(seed, f"{purpose} {split}") for purpose in ("every", "curve", "refined")]
    every = refined.refine(encode, likelihood, x, settings.every, noise[0], diagonal_only=True)
    curve = importance.curve(encode, likelihood, few, settings.curve, noise[1])
    better = refined.refine(encode, likelihood, few, settings.refined, noise[2])
    diagonal = _joined(every, len(x), refined.IMAGES, track)
    return Estimates(
        settings,
        elbo,
        diagonal.bound[0],
        diagonal.pareto_k[0],
        subset,
        _joined(curve, len(few), importance.IMAGES, track),
        _joined(better, len(few), refined.IMAGES, track),
        model.design.posterior,
    )


@dataclass(frozen=True)
class Bracket:
    """Annealed importance sampling: a lower bound for M images, and both bounds for simulated ones."""

    images: Tensor  # (M,)
    lower: Annealed  # (M,)
    simulated: tuple[Annealed, Annealed]  # lower and upper, of images that the model drew
    chains: int

    def summary(self) -> dict[str, Any]:
        """Means over the images. `distance` is an upper bound of the mean error, but for simulated images."""
        below, above = (found.bound for found in self.simulated)
        return {
            **self.row(),
            "accepted": self.lower.accepted.mean().item(),
            "simulated": {
                "images": len(below),
                "lower": below.mean().item(),
                "upper": above.mean().item(),
                **mean_and_error("distance", above - below),
            },
        }

    def row(self) -> dict[str, Any]:
        """As those of `Estimates.by_estimator`, without a Pareto k."""
        return _row("annealed", self.chains, self.lower.bound)


def anneal(
    model: VAE, x: Tensor, train: Tensor, settings: Annealing, seed: int, split: str, track: Track
) -> Bracket:
    """Annealed importance sampling of a choice of images (N, pixels) of a split, and of simulated ones.

    Args:
        train: (T, pixels) images of the training split, by some of which the transitions are tuned.
    """
    encode, likelihood = model.encoder, bernoulli(model.decoder)
    z = from_prior(settings.simulated, model.latent, stream(seed, "simulated"))
    simulated = torch.bernoulli(model.decode(z), generator=stream(seed, "simulated pixels"))
    others = train[torch.randperm(len(train), generator=stream(seed, "tuned"))[: settings.tuned]]
    steps = annealing.tune(encode, likelihood, others, settings, stream(seed, "tune"))

    def lower(images: Tensor, purpose: str) -> Annealed:
        parts = annealing.lower(encode, likelihood, images, steps, settings, stream(seed, purpose))
        return _joined(parts, len(images), annealing.IMAGES, track)

    upper = annealing.upper(encode, likelihood, simulated, z, steps, settings, stream(seed, "upper"))
    below = lower(simulated, "lower")
    above = _joined(upper, len(simulated), annealing.IMAGES, track)
    chosen = choice(len(x), settings.images, seed, split)
    return Bracket(chosen, lower(x[chosen], "annealed"), (below, above), settings.chains)
