"""How a classifier judges a VAE's samples and lines, and where classes overlap in the latent plane."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from plots import style

MARKED = 5  # pairs of classes on the map


def verdicts(decoded: np.ndarray, table: pd.DataFrame, columns: int, title: str, data: str) -> Figure:
    """Decoded means (N, pixels), the classifier's verdict below each; unsure ones have a bold frame.

    Args:
        table: `verdict`, `confidence` and `sure` of each image, in their order.
    """
    pictures = style.square(decoded)
    count, height, width = pictures.shape
    rows = -(-count // columns)
    down, across = height * 1.36, width * 1.12  # from one picture to the next; below each is a line of text
    fig, axes = style.subplots(0.92 * columns + 0.3, 1.14 * rows + 0.9)
    canvas = np.zeros((round(down * rows), round(across * columns)))
    verdict_of = table[["verdict", "confidence", "sure"]].itertuples(index=False)
    for place, (picture, (verdict, confidence, sure)) in enumerate(zip(pictures, verdict_of, strict=True)):
        top, left = round(place // columns * down), round(place % columns * across)
        canvas[top : top + height, left : left + width] = picture
        frame = Rectangle(
            (left - 0.5, top - 0.5), width, height, fill=False, zorder=3 if sure else 4,
            ec="#cccccc" if sure else style.SECOND, lw=0.8 if sure else 2.4,
        )  # fmt: skip
        axes.add_patch(frame)
        axes.text(
            left + width / 2, top + height + 0.5,
            f"{style.short(verdict)}{'' if sure else '?'} {confidence:.0%}",
            fontsize=9, ha="center", va="top", color="black" if sure else "#9a3546",
            fontweight="normal" if sure else "bold",
        )  # fmt: skip
    style.picture(axes, canvas)
    axes.set(xlim=(-1.5, canvas.shape[1]), ylim=(canvas.shape[0], -1.5), title=title)
    axes.set_axis_off()
    return style.finish(fig, f"verdict and confidence of the images' classifier; trained on binarized {data}")


def by_class(table: pd.DataFrame, title: str, data: str) -> Figure:
    """For each class: its share of samples and data, its pixel entropy, its share judged as another class."""
    fig, (share, entropy, other) = style.subplots(10.4, 4.2, 1, 3)
    _bars(share, table, {"share": "samples", "share_of_data": "data"}, "share of images")
    pair = {"pixel_entropy": "samples", "pixel_entropy_of_reconstructions": "reconstructions"}
    _bars(entropy, table, pair, "pixel entropy (nats a pixel)")
    pair = {"reconstructed_as_other": "reconstructions", "judge_error": "images"}
    _bars(other, table, pair, "share judged as another class")
    return style.finish(fig, f"classes by the images' classifier; binarized {data}", title)


def _bars(axes: Axes, table: pd.DataFrame, columns: dict[str, str], label: str) -> None:
    looks = ((style.FIRST, -0.2), (style.POSITIVE, 0.2))
    for (column, name), (colour, shift) in zip(columns.items(), looks, strict=True):
        axes.bar(np.arange(len(table)) + shift, table[column], 0.4, color=colour, label=name)
    style.class_ticks(axes, [str(name) for name in table["class"]])
    axes.set_ylabel(label)
    axes.grid(False, axis="x")
    axes.margins(y=0.18)
    axes.legend(loc="upper center", fontsize=9, ncols=2, columnspacing=1.0, handlelength=1.2)


def overlaps(
    means: np.ndarray, labels: np.ndarray, names: Sequence[str], pairs: pd.DataFrame, title: str, data: str
) -> Figure:
    """Posterior means (N, 2) by class, and where the most confused pairs of classes meet.

    Args:
        pairs: `first`, `second`, `images` and `share` confused, `z1`, `z2`; the most confused first.
    """
    fig, axes = style.subplots(7.6, 7.2)
    colours = np.array([style.CLASSES[label % len(style.CLASSES)] for label in labels])
    style.scatter(axes, means, colours, s=6, alpha=0.35)
    reach = np.quantile(np.abs(means), 0.995) * 1.08
    listed = ["most often confused"]
    texts = {}
    for number, row in enumerate(pairs[pairs["images"] > 0].head(MARKED).to_dict("records"), 1):
        listed.append(f"{number}  {row['first']} and {row['second']}: {row['share']:.0%}")
        texts["pair", number] = np.array([row["z1"], row["z2"]])
    axes.text(
        0.015, 0.985, "\n".join(listed), transform=axes.transAxes, va="top",
        fontsize=10, bbox={"fc": "white", "ec": "none", "alpha": 0.85}, zorder=6,
    )  # fmt: skip
    texts |= {("class", label): place for label, place in style.densest(means, labels).items()}
    for (kind, number), (x, y) in style.spread(texts, 0.11 * reach).items():
        if kind == "pair":
            axes.plot(x, y, "o", ms=17, mfc="white", mec="black", mew=1.8, alpha=0.9, zorder=4)
            axes.text(x, y, str(number), ha="center", va="center", fontsize=10, weight="bold", zorder=5)
        else:
            style.outlined_text(axes, x, y, names[number], size=13, outline=3.5)
    style.latent_plane(axes, title, reach)
    caption = f"{len(means)} test images of binarized {data}; share of both classes' images confused"
    return style.finish(fig, caption)


def pair_matrix(table: pd.DataFrame, names: Sequence[str], title: str, data: str) -> Figure:
    """How faithful lines between classes are: between class centres below, between random latents above.

    Args:
        table: `first`, `second`, `faithful`, `random_faithful` of each pair of classes.
    """
    fig, axes = style.subplots(7.4, 6.6)
    values = np.full((len(names), len(names)), np.nan)
    index = {name: place for place, name in enumerate(names)}
    for row in table.to_dict("records"):
        first, second = index[row["first"]], index[row["second"]]
        values[second, first], values[first, second] = row["faithful"], row["random_faithful"]
    shades = axes.imshow(values, cmap=style.RAMP, vmin=0, vmax=1)
    for (above, left), value in np.ndenumerate(values):
        if above == left:
            axes.add_patch(Rectangle((left - 0.5, above - 0.5), 1, 1, color="#eeeeee"))
        elif np.isnan(value):
            axes.text(left, above, "–", ha="center", va="center", color="#777777")
        else:
            colour = "black" if value > 0.6 else "white"
            axes.text(left, above, f"{value:.0%}", ha="center", va="center", fontsize=9, color=colour)
    style.class_ticks(axes, names, 45, both=True)
    axes.grid(False)
    axes.set_title(f"{title}\nbelow the diagonal: between class centres; above: random lines", fontsize=11)
    bar = fig.colorbar(shades, ax=axes, shrink=0.8)
    bar.set_label("share of steps that show one of the two classes")
    bar.ax.yaxis.set_major_formatter("{x:.0%}")
    return style.finish(fig, f"verdicts of the images' classifier; trained on binarized {data}")
