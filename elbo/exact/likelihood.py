"""The exact log-likelihood of many images, and the gaps of some of them.

The inference gap is split by the family of q: log p(x) less the ELBO of the best diagonal Gaussian, of the
best Gaussian with a full covariance, of the best posterior of the encoder's family, and of the encoder's q.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from elbo.bounds import log_likelihood, log_normal, mean_and_error
from elbo.exact import families, gaps
from elbo.exact.ascent import ROOM, Images, boxes_around
from elbo.exact.grid import Grid, Window
from elbo.exact.quadrature import integrate, refine
from elbo.models.posteriors import DiagonalNormal, FullNormal, Posterior
from elbo.models.vae import VAE

FINER = 2  # parts of a spacing, for the likelihood of the worst images
WIDE_ROOM = (families.REACH, ROOM[1])  # what a window holds of a q that is no diagonal Gaussian, see `ROOM`
OWN = 300  # images of a split at most whose best posterior is found by gradients
STUCK = 0.1  # nats by which a start at the mode must be better to call the encoder's start stuck
WORST = (0.05, 0.1)  # shares of the images, the worst, whose share of the total gap is reported
SHOWN = {"best": 0.0, "median": 0.5, "worst": 1.0}  # quantiles of the inference gap whose images are drawn
INSIDE = 0.9  # share of the importance samples that come from the quadrature's own posterior


@dataclass(frozen=True)
class Likelihood:
    """Results for N images, and the gaps of M of them; nats, float64."""

    log_likelihood: Tensor  # (N,) log p(x)
    refined: (
        Tensor  # (R,) the images integrated again on a finer grid, those with the largest spread included
    )
    change: Tensor  # (R,) by how much that changed log p(x), absolute
    subset: Tensor  # (M,) the images with gaps
    windows: list[Window]  # of the subset
    q: gaps.Gaussians  # the encoder's, by its means and standard deviations if it is no diagonal Gaussian
    best: gaps.Gaussians  # q*, the best of the encoder's family, by ascent from q
    elbo_from_mode: Tensor  # (M,) the ELBO of the best of the family by ascent from the posterior's mode
    families: dict[str, Tensor]  # (M,) ELBOs of the encoder's q, and of the best of each family
    posteriors: tuple[Posterior, Posterior]  # q and q*

    @property
    def gaps(self) -> dict[str, Tensor]:
        """(M,) each; inference = approximation + amortization (Cremer, Li and Duvenaud 2018).

        Of the encoder's own family: `approximation` is the gap of its best member that ascent from the
        encoder's q finds, and `approximation_of_better_start` of the better one from q and from the mode.
        """
        exact = self.log_likelihood[self.subset]
        return {
            "inference": exact - self.q.elbo,
            "approximation": exact - self.best.elbo,
            "amortization": self.best.elbo - self.q.elbo,
            "approximation_of_better_start": exact - torch.maximum(self.best.elbo, self.elbo_from_mode),
        }

    def means(self, chosen: Tensor, elbo: Tensor) -> dict[str, float | None]:
        """Means over the images that `chosen` (N,) bool marks: log p(x), ELBO (N,), and the gaps."""
        own = chosen[self.subset]
        exact = self.log_likelihood[chosen]
        row: dict[str, float | None] = {
            "images": int(chosen.sum()),
            **mean_and_error("log_likelihood", exact),
            **mean_and_error("elbo", elbo[chosen]),
            **mean_and_error("inference_gap", exact - elbo[chosen]),
            "gap_images": int(own.sum()),
        }
        for name, gap in self.gaps.items():
            row |= mean_and_error(name, gap[own])
        return row

    def summary(self, elbo: Tensor) -> dict[str, object]:
        """The metrics of all N images, given their ELBO (N,)."""
        row = self.means(torch.ones(len(elbo), dtype=torch.bool), elbo)
        gaps_row = {name: row.pop(name) for gap in self.gaps for name in (gap, f"{gap}_se")}
        stuck = (self.elbo_from_mode - self.best.elbo > STUCK).double().mean().item()
        gaps_row |= {"images": row.pop("gap_images"), "stuck_share": stuck}
        gaps_row |= ratio("amortization_share", self.gaps["amortization"], self.gaps["inference"])
        shape = concentration(self.log_likelihood - elbo)
        return row | {"quadrature_error": self.change.max().item(), "gaps": gaps_row, "gap_shape": shape}

    def by_family(self) -> list[dict[str, object]]:
        """The mean ELBO and gap of the encoder's q and of the best of each family, over the M images.

        Of several ascents the best counts, so a family with a larger gap is the worse one, and not only its
        start. A diagonal Gaussian is a full one, too.
        """
        exact = self.log_likelihood[self.subset]
        return [
            {
                "family": name,
                "images": len(elbo),
                **mean_and_error("elbo", elbo),
                **mean_and_error("gap", exact - elbo),
            }
            for name, elbo in self.families.items()
        ]

    def shown(self) -> dict[str, np.ndarray]:
        """Windows, q and q* of three images to draw, by quantile of the inference gap.

        Diagonal Gaussians are `loc` and `scale`; other posteriors also `log_q` (2, n2, n1), log densities at
        the nodes of the window.
        """
        order = self.gaps["inference"].argsort()
        arrays: dict[str, np.ndarray] = {}
        for name, share in SHOWN.items():
            place = int(order[round(share * (len(order) - 1))])
            parts: dict[str, Tensor] = dict(vars(self.windows[place]))  # z1, z2, log_joint
            for key in ("loc", "scale", "elbo"):
                parts[key] = torch.stack([getattr(g, key)[place].double() for g in (self.q, self.best)])
            if not isinstance(self.posteriors[0], DiagonalNormal):
                pairs = [families.log_density(self.windows[place], p[[place]]) for p in self.posteriors]
                parts["log_q"] = torch.stack(pairs).float()
            parts["image"] = self.subset[place]
            arrays |= {f"{name}_{key}": value.numpy() for key, value in parts.items()}
        return arrays


def ratio(name: str, part: Tensor, whole: Tensor) -> dict[str, float | None]:
    """The mean of `part` (N,) over that of `whole` (N,), and its standard error over images as `<name>_se`.

    By the delta method: to first order the ratio errs as the mean of (part − ratio · whole) / E[whole] does.
    """
    if not whole.mean():
        return {name: None, f"{name}_se": None}
    share = (part.mean() / whole.mean()).item()
    error = mean_and_error("rest", part - share * whole)["rest_se"]
    return {name: share, f"{name}_se": None if error is None else error / abs(whole.mean().item())}


def concentration(gap: Tensor) -> dict[str, float]:
    """How unevenly the images share the gap (N,): its median, and the share that the worst images carry."""
    descending, total = gap.sort(descending=True).values, gap.sum().item()
    result = {"median": gap.quantile(0.5).item()}
    for part in WORST:
        worst = descending[: max(1, round(part * len(gap)))].sum().item()
        result[f"share_of_worst_{round(100 * part)}_percent"] = worst / total if total else 0.0
    return result


@torch.no_grad()
def evaluate(model: VAE, x: Tensor, grid: Grid, subset: Tensor, worst: int) -> Likelihood:
    """log p(x) of images (N, pixels), and the gaps of those in `subset` (M,), which ascends.

    If q is no Gaussian, the gaps are those of `OWN` images of the subset at most, at equal distances.

    Args:
        worst: how many images to integrate again: those whose sums over every second node differ most.
    """
    if model.design.posterior not in ("diagonal", "full"):
        subset = subset[:: math.ceil(len(subset) / OWN)]
    encoded = model.encoder(x[subset])
    diagonal = isinstance(encoded, DiagonalNormal)
    loc, scale = encoded.mean, encoded.scale
    room = ROOM if diagonal else WIDE_ROOM
    integral = integrate(model.decoder, x, grid, boxes_around(subset, loc, scale, room))
    windows, images = integral.windows, Images(model.decoder, x[subset], integral.extent[subset], grid.nodes)
    elbo, held = families.elbo(windows, encoded)
    q = gaps.Gaussians(loc, scale, elbo, torch.zeros(len(subset), dtype=torch.bool))
    best = images.ascend(windows, loc, scale)
    from_mode = images.ascend(windows, gaps.modes(windows), scale)
    locs = torch.stack([gaussians.loc.double() for gaussians in (q, best, from_mode)])
    scales = torch.stack([gaussians.scale.double() for gaussians in (q, best, from_mode)])
    narrow = ((scales < images.narrow[:, None]).any(2).any(0) | ~held).nonzero()[:, 0]
    finer: list[Window] = []
    if len(narrow):
        fine = images[narrow].finer
        boxes = boxes_around(torch.arange(len(narrow)), locs[:, narrow], scales[:, narrow], room)
        finer = fine.windows(boxes)
        q.elbo[narrow] = families.elbo(finer, encoded[narrow])[0]
        for found, start in ((best, q), (from_mode, from_mode)):
            found.update(narrow, fine.ascend(finer, start.loc[narrow], start.scale[narrow]))
    refined = torch.cat([integral.spread.topk(min(worst, len(x))).indices, subset[narrow]]).unique()
    exact = integral.log_likelihood.clone()
    for extent in integral.extent[refined].unique().tolist():
        alike = refined[integral.extent[refined] == extent]
        exact[alike] = refine(model.decoder, x[alike], Grid(extent, grid.nodes), FINER)
    change = (exact - integral.log_likelihood)[refined].abs()
    fine_windows = dict(zip(narrow.tolist(), finer, strict=True))
    start = best.better(from_mode)
    full = images.ascend_full(windows, fine_windows, start.loc, torch.diag_embed(start.scale))
    elbos = {
        "encoder": q.elbo,
        "best diagonal": start.elbo,
        "best full": torch.maximum(full.elbo, start.elbo),
    }
    best_q: Posterior = DiagonalNormal(best.loc, best.scale.log())
    elbo_from_mode = from_mode.elbo
    if isinstance(encoded, FullNormal):
        ascended = images.ascend_full(windows, fine_windows, loc, encoded.factor)
        best = replace(ascended, elbo=torch.maximum(ascended.elbo, q.elbo))
        best_q, elbo_from_mode = ascended.posterior, full.elbo
        elbos["best full"] = torch.maximum(elbos["best full"], best.elbo)
    elif not diagonal:
        both = best, from_mode
        mixed = [fine_windows.get(i, window) for i, window in enumerate(windows)]
        best_q, best, elbo_from_mode = _best_of_family(mixed, encoded, q.elbo, *both)
        elbos[f"best {model.design.posterior}"] = torch.maximum(best.elbo, elbo_from_mode)
    pair = encoded, best_q
    return Likelihood(exact, refined, change, subset, windows, q, best, elbo_from_mode, elbos, pair)


def _best_of_family(
    windows: Sequence[Window], q: Posterior, elbo: Tensor, near: gaps.Gaussians, from_mode: gaps.Gaussians
) -> tuple[Posterior, gaps.Gaussians, Tensor]:
    """The best posteriors near the encoder's or near `near`, and the ELBOs of the best near `from_mode`.

    These are found only where `from_mode` is better than `near` by `STUCK`: elsewhere both are in one mode.
    """
    own, elbo = families.best(windows, q, elbo, near)
    elbo_from_mode, stuck = elbo.clone(), (from_mode.elbo - near.elbo > STUCK).nonzero()[:, 0]
    if len(stuck):
        few = [windows[i] for i in stuck.tolist()]
        elbo_from_mode[stuck] = families.best(few, q[stuck], elbo[stuck], from_mode[stuck])[1]
    summary = gaps.Gaussians(own.mean.double(), own.scale.double(), elbo, torch.zeros_like(near.blocked))
    return own, summary, elbo_from_mode


@torch.no_grad()
def importance_sampling(
    model: VAE, x: Tensor, windows: Sequence[Window], samples: int, generator: torch.Generator
) -> Tensor:
    """(N,) log p(x) of images (N, pixels) by importance sampling, which shares no node with the quadrature.

    Most samples come from the quadrature's posterior, anywhere in a node's cell, the rest from a Gaussian
    with the encoder's mean and twice its scale, which may lie elsewhere. The estimate of p(x) is unbiased.
    """
    encoded = model.encoder(x)
    log_scale = encoded.log_scale if isinstance(encoded, DiagonalNormal) else encoded.scale.log()
    wide = DiagonalNormal(encoded.mean, log_scale + math.log(2))
    inside = round(INSIDE * samples)
    result = torch.empty(len(x), dtype=torch.float64)
    for i, window in enumerate(windows[: len(x)]):
        spacing = window.z1[1] - window.z1[0]
        weights = window.log_joint.double().flatten().softmax(0)
        nodes = torch.multinomial(weights, inside, replacement=True, generator=generator)
        rows, columns = nodes // len(window.z1), nodes % len(window.z1)
        cells = torch.stack([window.z1[columns], window.z2[rows]], 1)
        jitter = torch.rand(cells.shape, generator=generator, dtype=torch.float64) - 0.5
        noise = torch.randn(samples - inside, 2, generator=generator)
        own = wide[i]
        z = torch.cat([(cells + spacing * jitter).float(), own.sample(noise)])
        first = torch.stack([window.z1[0], window.z2[0]])
        place = ((z - first) / spacing).round().long()
        size = torch.tensor([len(window.z1), len(window.z2)])
        held = ((place >= 0) & (place < size)).all(1)
        node = (place[:, 1] * size[0] + place[:, 0]).clamp(0, len(weights) - 1)
        density_window = torch.where(held, weights[node] / spacing**2, 0.0)
        density_encoder = own.log_prob(z).double().exp()
        share = inside / samples
        proposal = (share * density_window + (1 - share) * density_encoder).log()
        joint = log_likelihood(model.decoder(z), x[i].expand(samples, -1)).double() + log_normal(z)
        result[i] = (joint - proposal).logsumexp(0) - math.log(samples)
    return result
