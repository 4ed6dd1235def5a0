"""What the ELBO misses: exact posteriors with their Gaussians, gaps, a map of log p(x)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse
from PIL import Image

from plots import pictures, style

MASSES = (0.5, 0.9, 0.99)  # of the posterior inside each contour
DEVIATIONS = 2  # of a Gaussian, at its ellipse
WITHIN = 1 - math.exp(-(DEVIATIONS**2) / 2)  # of its mass inside: what the contour of another posterior holds
SMALLEST = 0.01  # nats, on a logarithmic axis of gaps
WORST = 0.1  # of the images, marked
HEADROOM = 0.14  # above the histogram, for each line of its legend
FINER = 6  # points of a smooth contour for each of the posterior's grid
PARTS = (  # of the inference gap, from below
    ("Gaussian shape", style.FIRST, ""),
    ("encoder: wrong mode", "#5588BB", "////"),
    ("encoder: refine its q", "#F3C58C", ""),
)


def panels(
    arrays: Mapping[str, np.ndarray], images: np.ndarray, shape: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """The arguments of a row of `posteriors`: the images with the best, the median and the worst gap.

    Args:
        arrays: of each image, `<name>_image`, its index, and `<name>_<key>` of what `posteriors` needs;
            `log_likelihood_test` (N,).
        images: (N, pixels), of height and width `shape`.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in ("best", "median", "worst"):
        index = int(arrays[f"{name}_image"])
        keys = ("z1", "z2", "log_joint", "loc", "scale", "elbo", "log_q")
        found[name] = {key: arrays[f"{name}_{key}"] for key in keys if f"{name}_{key}" in arrays}
        found[name]["picture"] = pictures.enlarged(images[index : index + 1], shape, 28)[0]
        found[name]["log_likelihood"] = arrays["log_likelihood_test"][index]
    return found


def posteriors(rows: Mapping[str, Mapping[str, Mapping[str, Any]]], data: str) -> Figure:
    """Exact posteriors as contours, the encoder's q and q* over them; a row for each model.

    Args:
        rows: of each model and of three images, `z1` (n1,), `z2` (n2,), `log_joint` (n2, n1), `loc` and
            `scale` (2, 2) and `elbo` (2,) of the encoder's q and of q*, `picture` (height, width),
            `log_likelihood`; `log_q` (2, n2, n1) of posteriors that are no diagonal Gaussians.
    """
    fig, cells = style.subplots(7.2, 2.3 * len(rows) + 0.9, len(rows), 3, squeeze=False)
    for line, (name, images) in zip(cells, rows.items(), strict=True):
        for axes, (which, image) in zip(line, images.items(), strict=True):
            _posterior(axes, which, image)
        line[0].set_ylabel(f"{name}\n$z_2$")
    for axes in cells[-1]:
        axes.set_xlabel("$z_1$")
    plain = all("log_q" not in image for images in rows.values() for image in images.values())
    inside = f"{DEVIATIONS} s.d." if plain else f"{style.percent(WITHIN)} inside"
    handles = [
        Line2D([], [], color="#444444", lw=1.2, label="exact: 50, 90, 99 %"),
        Line2D([], [], color=style.SECOND, lw=2.2, label=f"encoder's q, {inside}"),
        Line2D([], [], color=style.FIRST, lw=2.2, ls="--", label="q*: ascent from it"),
    ]
    style.legend_above(fig, handles)
    return style.finish(fig, f"binarized test images of {data}")


def _posterior(axes: Axes, which: str, image: Mapping[str, Any]) -> None:
    edges = [line[end] + side * (line[1] - line[0]) / 2
             for line in (image["z1"], image["z2"]) for end, side in ((0, -1), (-1, 1))]  # fmt: skip
    drawn = _contours(axes, image["log_joint"], MASSES, edges, "#444444", "-", 1.2)
    angles = np.linspace(0, 2 * np.pi, 60)
    for place, (colour, dashes) in enumerate(((style.SECOND, "-"), (style.FIRST, "--"))):
        loc, scale = image["loc"][place], image["scale"][place]
        axes.plot(*loc, "+", color=colour, ms=9, mew=2)
        if "log_q" in image:
            drawn += _contours(axes, image["log_q"][place], (WITHIN,), edges, colour, dashes, 2.2)
            continue
        axes.add_patch(Ellipse(loc, *(2 * DEVIATIONS * scale), fill=False, ec=colour, ls=dashes, lw=2.2))
        drawn.append(loc + DEVIATIONS * scale * np.column_stack([np.cos(angles), np.sin(angles)]))
    points = np.vstack(drawn)
    low, high = points.min(0), points.max(0)
    side = 1.16 * max(high - low)
    corner = (low + high - side) / 2
    axes.set(xlim=(corner[0], corner[0] + side), ylim=(corner[1], corner[1] + side), aspect="equal")
    axes.locator_params(nbins=4, steps=[1, 2, 5, 10])
    axes.grid(False)
    exact, (encoder, best) = image["log_likelihood"], image["elbo"]
    decimals = 2 if exact - encoder < 10 else 1 if exact - encoder < 100 else 0
    gap, left = (style.number(float(exact - elbo), decimals) for elbo in (encoder, best))
    axes.set_title(f"{which} gap: {gap} nats\nleft at q*: {left} nats", fontsize=10)
    # the image stands in the corner that is the farthest from all that is drawn
    share = 0.22
    corners = [np.array([x, y]) for x in (0.01, 0.99 - share) for y in (0.99 - share, 0.01)]
    shown = (points - corner) / side - share / 2
    free = max(corners, key=lambda place: np.abs(shown - place).max(axis=1).min())
    inset = axes.inset_axes((*free, share, share))
    inset.imshow(image["picture"], cmap=style.INK, vmin=0, vmax=1, interpolation="nearest")
    inset.set(xticks=[], yticks=[])
    inset.spines[:].set(visible=True, color="#999999")


def _contours(
    axes: Axes,
    log_density: np.ndarray,
    masses: Sequence[float],
    edges: Sequence[float],
    colour: str,
    dashes: str,
    width: float,
) -> list[np.ndarray]:
    """Draws the contours that hold these shares of the mass of a density at a grid's nodes (m, n)."""
    log_mass = smooth((log_density - log_density.max()).astype(np.float64).clip(min=-60))
    ordered = np.sort(np.exp(log_mass).ravel())[::-1]
    inside = ordered.cumsum() / ordered.sum()
    levels = np.unique(np.log(ordered[np.searchsorted(inside, masses).clip(max=len(ordered) - 1)]))
    drawn = axes.contour(log_mass, levels=levels, colors=colour, linewidths=width, linestyles=dashes,
                         origin="lower", extent=edges)  # fmt: skip
    return [np.asarray(path.vertices) for path in drawn.get_paths()]


def smooth(values: np.ndarray) -> np.ndarray:
    """Values (m, n) of a grid's cells as those of `FINER` times as many a side, by cubic convolution.

    It is exact where they are quadratic, as the logarithm of a Gaussian is (Keys 1981), edges apart.
    """
    size = values.shape[1] * FINER, values.shape[0] * FINER
    fine = Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(fine, dtype=np.float64)


def decomposition(tables: Mapping[str, pd.DataFrame], data: str) -> Figure:
    """The inference gap by class (nats per image), stacked: that of the best Gaussian, that of a worse mode
    where ascent ends, that of the encoder. A row for each model, a panel for each split.

    Args:
        tables: of each model, `split`, `class`, `gap_images`, `approximation_of_better_start`,
            `approximation`, `amortization`, and `inference_se`.
    """
    counts: dict[str, str] = {}
    splits = sorted({split for table in tables.values() for split in table["split"]})
    width, height = style.PANEL
    classes = max(table["class"].nunique() for table in tables.values())
    if classes > style.MANY_CLASSES:
        width = max(width, 0.17 * classes + 1)
    size = (width * len(splits), (height - 1.1) * len(tables) + 0.9)
    fig, cells = style.subplots(*size, len(tables), len(splits), sharey=True, sharex=True, squeeze=False)
    for line, (name, table) in zip(cells, tables.items(), strict=True):
        line[0].set_ylabel("nats per image")
        for axes, split in zip(line, splits, strict=True):
            rows = table[table["split"] == split]
            places = np.arange(len(rows))
            # a class without such images has no bar
            best, first, saved = (
                rows[key].fillna(0).to_numpy()
                for key in ("approximation_of_better_start", "approximation", "amortization")
            )
            heights = (best, first - best, saved)
            bottom, means = np.zeros(len(rows)), []
            for (label, colour, hatch), part in zip(PARTS, heights, strict=True):
                options = {"bottom": bottom, "color": colour, "hatch": hatch, "label": label}
                axes.bar(places, part, 0.72, ec="white", lw=0.4, **options)
                bottom = bottom + part
                means.append(style.number(float(np.average(part, weights=rows["gap_images"]))))
            bars = {"ecolor": style.QUIET, "capsize": 2, "lw": 1}
            axes.errorbar(places, bottom, rows["inference_se"], fmt="none", **bars)
            style.class_ticks(axes, [str(name) for name in rows["class"]])
            style.round_ticks(axes.yaxis, whole=False)
            axes.set_title(f"{name}, {split}: means {' + '.join(means)}", fontsize=11)
            counts[split] = f"{int(rows['gap_images'].sum()):,} {split}"
            axes.grid(False, axis="x")
    for axes in cells[-1]:
        axes.set_xlabel("class")
    style.legend_above(fig, cells[0, 0].get_legend_handles_labels()[0][: len(PARTS)])
    images = f"{' and '.join(counts.values())} images of binarized {data}"
    return style.finish(fig, f"{images}; bars: ± standard error of the whole gap")


def gap_distribution(
    gaps: Mapping[str, Mapping[str, np.ndarray]], data: str, *, bounded: bool = False
) -> Figure:
    """How many images have which inference gap, and how much of all of it the worst images carry.

    Args:
        gaps: by split and model, (N,) nats; gaps that sampling noise puts below `SMALLEST` count as that.
        bounded: of a model, log p(x) is a lower bound.
    """
    fig, cells = style.panels(2 * len(gaps), style.PANEL[0], 3.2)
    largest = max(float(values.max()) for models in gaps.values() for values in models.values())
    edges = np.geomspace(SMALLEST, max(largest, 10 * SMALLEST), 51)
    found = style.looks(list(next(iter(gaps.values()))))
    for (split, models), density, carried in zip(gaps.items(), cells[::2], cells[1::2], strict=True):
        for values, look in zip(models.values(), found.values(), strict=True):
            line = {"color": look.colour, "ls": look.dashes, "lw": 1.8}
            shares = np.full(len(values), 1 / len(values))
            density.hist(values.clip(min=SMALLEST), edges.tolist(), weights=shares, histtype="step", **line)
            label = f"median {style.number(float(np.median(values)))}, mean {style.number(values.mean())}"
            density.plot([], [], label=label, **line)
            falling = np.sort(values)[::-1].cumsum() / max(values.sum(), SMALLEST)
            images = np.arange(1, len(values) + 1) / len(values)
            worst = falling[max(1, round(WORST * len(values))) - 1]
            label = f"worst {style.percent(WORST)} carry {style.percent(worst)}"
            carried.plot(images, falling, label=label, **line)
        count = f"{len(next(iter(models.values()))):,} {split} images"
        density.set(xscale="log", xlabel="log p(x) − ELBO (nats)", ylabel="share of images")
        density.set_title(count)
        density.set_ylim(0, (1.2 + HEADROOM * len(models)) * density.dataLim.y1)
        density.xaxis.set_major_formatter(lambda value, _: f"{'≤ ' if value <= SMALLEST else ''}{value:,g}")
        carried.axvline(WORST, color=style.QUIET, lw=1, ls=":")
        carried.set(xlabel="images, largest gap first", ylabel="share of the whole gap", title=count)
        carried.set(xlim=(0, 1), ylim=(0, 1.02))
        style.percent_ticks(carried.xaxis, carried.yaxis, density.yaxis)
        density.legend(loc="upper left", fontsize=9.5)
        carried.legend(loc="lower right", fontsize=9.5)
    style.legend_above(fig, style.keys(found))
    wide = "; of a wide latent, log p(x) is a lower bound" if bounded else ""
    return style.finish(fig, f"binarized {data}; {SMALLEST:g}: this or less{wide}")


def likelihood_maps(maps: Mapping[str, tuple[np.ndarray, np.ndarray]], extent: float, data: str) -> Figure:
    """The mean log p(x) (nats) of the images at each place of the plane, a panel for each model.

    Args:
        maps: of each model, the images' posterior means (N, 2) and log p(x) (N,).
    """
    fig, cells = style.panels(len(maps), 4.2, 5.0, layout="compressed", sharey=True)
    values = np.concatenate([value for _, value in maps.values()])
    low, high = np.quantile(values, (0.02, 0.98))
    colours = matplotlib.colormaps[style.RAMP].resampled(12)
    for axes, (name, (means, value)) in zip(cells, maps.items(), strict=True):
        x, y = means.T
        drawn = axes.hexbin(
            x, y, C=value, gridsize=int(np.clip(0.3 * len(value) ** 0.5, 14, 25)), cmap=colours,
            extent=(-extent, extent) * 2, vmin=low, vmax=high, linewidths=0, antialiased=False,
        )  # fmt: skip
        style.latent_plane(axes, name, extent)
    label = "mean log p(x) (nats)"
    fig.colorbar(drawn, ax=cells, location="bottom", shrink=0.6, aspect=36, extend="both", label=label)
    return style.finish(fig, f"at the posterior means of {len(value):,} binarized test images of {data}")
