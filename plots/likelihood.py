"""What the ELBO misses: exact posteriors with their Gaussians, gaps by class, a map of log p(x)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse

from plots import style

MASSES = (0.5, 0.9, 0.99)  # of the posterior inside each contour
DEVIATIONS = 2  # of a Gaussian, at its ellipse
SMALLEST = 0.01  # nats, on a logarithmic axis of gaps
WORST = 0.05  # of the images, marked
HEADROOM = 1.3  # above the histogram, for its legend


def panels(arrays: Mapping[str, np.ndarray], images: np.ndarray) -> dict[str, dict[str, Any]]:
    """The arguments of `posteriors`, for the images with the best, the median and the worst gap.

    Args:
        arrays: of each image, `<name>_image`, its index, and `<name>_<key>` of what `posteriors` needs;
            `log_likelihood_test` (N,).
        images: (N, pixels).
    """
    found: dict[str, dict[str, Any]] = {}
    for name in ("best", "median", "worst"):
        index = int(arrays[f"{name}_image"])
        keys = ("z1", "z2", "log_joint", "loc", "scale", "elbo")
        found[name] = {key: arrays[f"{name}_{key}"] for key in keys}
        found[name]["picture"] = style.square(images)[index]
        found[name]["log_likelihood"] = arrays["log_likelihood_test"][index]
    return found


def posteriors(panels: Mapping[str, Mapping[str, Any]], title: str, data: str) -> Figure:
    """Exact posteriors as contours, the encoder's Gaussian and q* over them, and the image in a corner.

    Args:
        panels: by name, `z1` (n1,), `z2` (n2,), `log_joint` (n2, n1), `loc` and `scale` (2, 2) and
            `elbo` (2,) of the encoder's q and of q*, `picture` (side, side), `log_likelihood`.
    """
    fig, cells = style.subplots(4.1 * len(panels), 5.3, 1, len(panels))
    looks = ((style.SECOND, "-"), (style.FIRST, "--"))
    for axes, (name, panel) in zip(cells, panels.items(), strict=True):
        mass = np.exp(panel["log_joint"].astype(np.float64) - panel["log_joint"].max())
        ordered = np.sort(mass.ravel())[::-1]
        inside = ordered.cumsum() / ordered.sum()
        levels = np.unique(ordered[np.searchsorted(inside, MASSES).clip(max=len(ordered) - 1)])
        axes.contour(panel["z1"], panel["z2"], mass, levels=levels, colors="#444444", linewidths=1.2)
        extremes = []
        for (colour, dashes), loc, scale in zip(looks, panel["loc"], panel["scale"], strict=True):
            size = 2 * DEVIATIONS * scale
            axes.add_patch(Ellipse(loc, *size, fill=False, ec=colour, ls=dashes, lw=2.2))
            axes.plot(*loc, "+", color=colour, ms=9, mew=2)
            extremes += [loc - 1.3 * size / 2, loc + 1.3 * size / 2]
        rows, columns = np.nonzero(mass >= levels[0])
        corners = np.vstack([*extremes, np.column_stack([panel["z1"][columns], panel["z2"][rows]])])
        low, high = corners.min(0), corners.max(0)
        half = 0.58 * max(high - low)
        centre = (low + high) / 2
        axes.set(
            xlim=(centre[0] - half, centre[0] + half), ylim=(centre[1] - half, centre[1] + half),
            xlabel="$z_1$", ylabel="$z_2$", aspect="equal",
        )  # fmt: skip
        axes.xaxis.labelpad = 1  # clear of the caption
        axes.locator_params(nbins=4)
        exact, (encoder, best) = panel["log_likelihood"], panel["elbo"]
        inference, approximation, amortization = (
            round(float(gap), 2) + 0.0  # no minus zero
            for gap in (exact - encoder, exact - best, best - encoder)
        )
        parts = f"approximation {approximation:.2f}, amortization {amortization:.2f}"
        axes.set_title(f"{name} gap: {inference:.2f} nats\n{parts}", fontsize=10.5)
        style.picture(axes.inset_axes((0.02, 0.78, 0.2, 0.2)), panel["picture"])
    handles = [
        Line2D([], [], color="#444444", lw=1.2, label="exact posterior: 50, 90, 99 % of its mass"),
        Line2D([], [], color=style.SECOND, lw=2.2, label="encoder's q, two standard deviations"),
        Line2D([], [], color=style.FIRST, lw=2.2, ls="--", label="q* from there"),
    ]
    style.legend_above(fig, handles, title)
    return style.finish(fig, f"binarized test images of {data}")


def decomposition(table: pd.DataFrame, title: str, data: str) -> Figure:
    """The inference gap by class (nats per image), stacked: that of the best Gaussian, that of a worse mode
    where ascent ends, that of the encoder.

    Args:
        table: `split`, `class`, `approximation_of_better_start`, `approximation`, `amortization`, and
            `inference_se`.
    """
    splits = list(dict.fromkeys(table["split"]))
    fig, cells = style.subplots(5.0 * len(splits), 4.4, 1, len(splits), sharey=True, squeeze=False)
    cells[0, 0].set_ylabel("nats an image")
    for axes, split in zip(cells[0], splits, strict=True):
        rows = table[table["split"] == split]
        places = np.arange(len(rows))
        best = rows["approximation_of_better_start"].to_numpy()
        stuck = rows["approximation"].to_numpy() - best
        amortized = rows["amortization"].to_numpy()
        axes.bar(places, best, 0.7, color=style.FIRST, label="approximation: of the best Gaussian")
        label = "approximation: another mode is better"
        axes.bar(places, stuck, 0.7, bottom=best, color="#88AACC", label=label)
        axes.bar(
            places, amortized, 0.7, bottom=best + stuck, color=style.POSITIVE, label="amortization",
            yerr=rows["inference_se"], ecolor="#555555", capsize=2,
        )  # fmt: skip
        style.class_ticks(axes, [str(name) for name in rows["class"]])
        axes.set(xlabel="class", title=f"{split}: {int(rows['gap_images'].sum())} images")
        axes.grid(False, axis="x")
    style.legend_above(fig, cells[0, 0].get_legend_handles_labels()[0][::-1], title)
    return style.finish(fig, f"binarized {data}; bars: standard error of the whole gap")


def gap_distribution(gaps: Mapping[str, np.ndarray], title: str, data: str) -> Figure:
    """How many images have which inference gap, and how much of all of it the worst images carry.

    Args:
        gaps: by split, (N,) nats; gaps that sampling noise puts below `SMALLEST` count as `SMALLEST`.
    """
    fig, (density, carried) = style.subplots(10.4, 4.4, 1, 2)
    largest = max(float(values.max()) for values in gaps.values())
    edges = np.geomspace(SMALLEST, max(largest, 10 * SMALLEST), 61)
    looks = ((style.FIRST, "-"), (style.SECOND, "--"))
    for (split, values), (colour, dashes) in zip(gaps.items(), looks, strict=True):
        shares = np.full(len(values), 1 / len(values))
        density.hist(
            values.clip(min=SMALLEST), edges, weights=shares, histtype="step", color=colour, ls=dashes, lw=2,
            label=f"{split}: median {np.median(values):.2f}, mean {values.mean():.2f}",
        )  # fmt: skip
        density.axvline(np.median(values), ymax=1 / HEADROOM, color=colour, ls=dashes, lw=1)
        density.plot(max(values.mean(), SMALLEST), 0, "^", color=colour, ms=9, clip_on=False, zorder=4)
        falling = np.sort(values)[::-1].cumsum() / max(values.sum(), SMALLEST)
        images = np.arange(1, len(values) + 1) / len(values)
        worst = falling[max(1, round(WORST * len(values))) - 1]
        label = f"{split}: worst {WORST:.0%} carry {worst:.0%}"
        carried.plot(images, falling, dashes, color=colour, label=label)
        carried.plot(WORST, worst, "o", color=colour, ms=7)
    density.set(xscale="log", xlabel="log p(x) − ELBO (nats)", ylabel="share of images")
    density.set_title("lines: medians; triangles: means", fontsize=10)
    density.set_ylim(0, HEADROOM * density.dataLim.y1)
    density.xaxis.set_major_formatter("{x:g}")
    carried.set(xlabel="images, largest gap first", ylabel="share of the whole gap")
    carried.set(xlim=(0, 1), ylim=(0, 1.02))
    for axis in (carried.xaxis, carried.yaxis, density.yaxis):
        axis.set_major_formatter("{x:.0%}")
    density.legend(loc="upper left", fontsize=9.5)
    carried.legend(loc="lower right", fontsize=9.5)
    counts = " and ".join(f"{len(values)} {split}" for split, values in gaps.items())
    caption = f"{counts} images of binarized {data}; below {SMALLEST:g} nats counted at {SMALLEST:g}"
    return style.finish(fig, caption, title)


def likelihood_map(means: np.ndarray, log_likelihood: np.ndarray, title: str, data: str) -> Figure:
    """Posterior means (N, 2) coloured by log p(x) of their images, (N,) nats."""
    fig, axes = style.subplots(7.6, 6.4)
    low, high = np.quantile(log_likelihood, (0.02, 0.98))
    points = style.scatter(axes, means, log_likelihood, cmap=style.RAMP, vmin=low, vmax=high, s=8)
    style.latent_plane(axes, title, np.quantile(np.abs(means), 0.998) * 1.05)
    fig.colorbar(points, ax=axes, shrink=0.85, extend="both").set_label("log p(x) (nats)")
    return style.finish(fig, f"{len(means)} binarized test images of {data}")


def ladder(elbo: Mapping[str, Any], exact: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The bounds in `elbo` (`elbo`, `iwae_<k>`) by rising k, and the `log_likelihood` in `exact`."""
    by_k = {1: elbo["elbo"]}
    by_k |= {int(key.removeprefix("iwae_")): elbo[key] for key in elbo if key.startswith("iwae_")}
    steps = [(f"IWAE, k = {k}" if k > 1 else "ELBO", float(bound)) for k, bound in sorted(by_k.items())]
    return [*steps, ("log p(x)", float(exact["log_likelihood"]))]


def bounds(values: Sequence[tuple[str, float]], title: str, data: str) -> Figure:
    """Lower bounds of the mean log-likelihood (nats per image), from the loosest to the exact value."""
    fig, axes = style.subplots(7.0, max(3.5, 0.52 * len(values) + 1.5))
    names, numbers = zip(*values, strict=True)
    exact = numbers[-1]
    places = np.arange(len(values))[::-1]
    axes.hlines(places, numbers, exact, color="#bbbbbb", lw=2)
    axes.scatter(numbers, places, s=60, color=[style.FIRST] * (len(values) - 1) + [style.SECOND], zorder=3)
    for place, value in zip(places, numbers, strict=True):
        above = {"xytext": (0, 8), "textcoords": "offset points", "ha": "center", "fontsize": 9.5}
        axes.annotate(f"{value:.2f}", (value, place), **above)
    axes.axvline(exact, color=style.SECOND, lw=1.2, ls="--")
    axes.set_yticks(places, names)
    axes.set(xlabel="nats an image, mean over the test images", title=title)
    axes.margins(x=0.12, y=0.22)
    axes.grid(False, axis="y")
    return style.finish(fig, f"binarized {data}")
