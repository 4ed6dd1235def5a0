"""Stage interpolate@VARIANT: what the judge sees along straight lines in the latent plane."""

from __future__ import annotations

import itertools
from pathlib import Path

import pandas as pd
import torch

from elbo.classifier import Classifier
from elbo.determinism import prepare, stream
from elbo.interpolation import Lines, follow
from elbo.vae import VAE, from_prior
from pipeline import dataset
from pipeline.console import argument, run, say
from pipeline.files import read_weights, write_csv, write_json
from pipeline.params import load
from stages.schema import Params


def main() -> None:
    variant = argument("variant of vae")
    compute, settings, figures, activation, of_judge = load(
        Params,
        "compute",
        "interpolation",
        "figures",
        f"vae.{variant}.activation",
        "classifier.images.activation",
    )
    prepare(compute.threads)
    data = dataset.load("data/binarized.npz")
    names = data.classes
    model = VAE.from_weights(read_weights(Path("models/vae", f"{variant}.safetensors")), activation)
    judge = Classifier.from_weights(read_weights("models/classifier/images.safetensors"), of_judge)

    def lines(starts: torch.Tensor, ends: torch.Tensor) -> Lines:
        return follow(model, judge, starts, ends, figures.steps, settings.sure)

    def between(seed: int, count: int) -> Lines:
        ends = (stream(seed, f"interpolation {end}") for end in ("starts", "ends"))
        return lines(*(from_prior(count, generator) for generator in ends))

    shown = between(figures.seed, figures.rows)
    many = between(settings.seed, settings.pairs)
    means, labels = model.encoder(data.inputs("train"))[0], data.targets("train")
    present = labels.unique().tolist()
    centres = {label: means[labels == label].median(0).values for label in present}
    pairs = list(itertools.combinations(present, 2))
    starts, ends = (torch.stack([centres[pair[end]] for pair in pairs]) for end in (0, 1))
    of_centres = lines(starts, ends)
    first, second = torch.tensor(pairs).T
    # of the random lines, those whose ends the judge names as the pair
    low, high = many.labels[:, [0, -1]].sort(1).values.T
    clear = many.sure[:, 0] & many.sure[:, -1]
    of_many = many.faithful(low, high)
    table = []
    for place, (a, b) in enumerate(pairs):
        like = clear & (low == a) & (high == b)
        table.append(
            {
                "first": names[a],
                "second": names[b],
                "faithful": of_centres.faithful(first, second)[place].item(),
                "transitions": int(of_centres.transitions[place]),
                "unsure": (~of_centres.sure[place]).double().mean().item(),
                "detour": of_centres.detour[place].item(),
                "largest_step": of_centres.largest[place].item(),
                "random_lines": int(like.sum()),
                "random_faithful": of_many[like].mean().item() if like.any() else None,
            }
        )
    rows = [
        {
            "row": row + 1,
            "step": step + 1,
            "verdict": names[int(shown.labels[row, step])],
            "confidence": shown.confidence[row, step].item(),
            "sure": int(shown.sure[row, step]),
        }
        for row in range(figures.rows)
        for step in range(figures.steps)
    ]
    report = Path("reports/vae", variant)
    write_csv(report / "interpolation_lines.csv", pd.DataFrame(rows))
    write_csv(report / "interpolation_pairs.csv", pd.DataFrame(table))
    metrics = {
        **data.identity,
        "steps": figures.steps,
        "shown": shown.summary(),
        "random": {"lines": settings.pairs, **many.summary()},
        "centres": {"lines": len(pairs), **of_centres.summary()},
    }
    write_json(report / "interpolations.json", metrics)
    say(f"{variant}: {(~many.sure).double().mean():.2%} of the steps between random latents are unclear")


if __name__ == "__main__":
    run(main)
