"""Training the VAE: an iterator over epochs. Its consumer owns the loop, and sees each epoch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from elbo.bounds import kl_to_prior, log_likelihood, total_log_likelihood
from elbo.determinism import stream
from elbo.layers import drop
from elbo.optimization import Diverged, Optimizer, Settings, batches
from elbo.vae import LATENT, VAE

EVALUATION_BATCH = 2000  # images a pass: logits of 6 MB stay in the cache


class VaeSettings(Settings, Protocol):
    @property
    def input_dropout(self) -> float: ...


@dataclass(frozen=True)
class Epoch:
    """One epoch's figures; ELBO, reconstruction and KL in nats an image, ELBO = reconstruction − KL.

    Attributes:
        epoch: from 1.
        train: the running mean over the epoch's minibatches, each before its step, as in the notebook.
        held_out: by split, after the epoch, with the averaged weights where weights are averaged.
        seconds: of training alone.
    """

    epoch: int
    train: dict[str, float]
    held_out: dict[str, dict[str, float]]
    seconds: float

    @property
    def row(self) -> dict[str, float | int]:
        """One flat row: epoch, train_elbo, …, test_kl."""
        splits = {"train": self.train, **self.held_out}
        flat = {f"{split}_{name}": value for split in splits for name, value in splits[split].items()}
        return {"epoch": self.epoch, **flat}


def epochs(
    model: VAE,
    train: Tensor,
    held_out: Mapping[str, Tensor],
    settings: VaeSettings,
    optimizer: Optimizer | None = None,
) -> Iterator[Epoch]:
    """Maximizes the ELBO by minibatches of single reparametrized samples; yields after each epoch.

    Args:
        model: trained in place; after the last epoch it has the averaged weights, if averaged.
        train: (N, pixels) of 0.0 and 1.0, resident in memory.
        held_out: images to score after each epoch, by split.
        optimizer: of this model; one that has taken up an earlier state goes on with the epoch after it.

    Raises:
        Diverged: an epoch's ELBO is not finite.
    """
    size = settings.batch_size
    optimizer = optimizer or Optimizer(model, settings, len(train))
    for epoch in range(optimizer.epochs_done + 1, settings.epochs + 1):
        started = time.perf_counter()
        noise = torch.randn(len(train), LATENT, generator=stream(settings.seed, "posterior", epoch))
        dropout = stream(settings.seed, "dropout", epoch)
        totals = torch.zeros(2, dtype=torch.float64)  # read once an epoch
        seen = 0
        for index in batches(len(train), size, stream(settings.seed, "shuffle", epoch)):
            x = train[index]
            loc, log_scale = model.encoder(drop(x, settings.input_dropout, dropout, rescale=False))
            z = loc + noise[seen : seen + len(x)] * log_scale.exp()
            reconstruction = total_log_likelihood(model.decoder(z), x)
            kl = kl_to_prior(loc, log_scale).sum()
            optimizer.step((kl - reconstruction) / len(x))
            totals += torch.stack([reconstruction.detach(), kl.detach()])
            seen += len(x)
        seconds = time.perf_counter() - started
        figures = _figures(totals / len(train))
        if not all(map(torch.isfinite, totals)):
            raise Diverged(f"the ELBO of epoch {epoch} is {figures['elbo']}")
        with optimizer.averaged():
            scores = {
                split: score(model, images, stream(settings.seed, f"score {split}", epoch))
                for split, images in held_out.items()
            }
        yield Epoch(epoch, figures, scores, seconds)
    optimizer.finish()


@torch.no_grad()
def score(model: VAE, images: Tensor, generator: torch.Generator) -> dict[str, float]:
    """The ELBO of images (N, pixels) by one posterior sample each, and its two terms: nats an image."""
    totals = torch.zeros(2, dtype=torch.float64)
    for x in images.split(EVALUATION_BATCH):
        loc, log_scale = model.encoder(x)
        z = loc + torch.randn(loc.shape, generator=generator) * log_scale.exp()
        totals[0] += log_likelihood(model.decoder(z), x).double().sum()
        totals[1] += kl_to_prior(loc, log_scale).double().sum()
    return _figures(totals / len(images))


def _figures(means: Tensor) -> dict[str, float]:
    reconstruction, kl = means.tolist()
    return {"elbo": reconstruction - kl, "reconstruction": reconstruction, "kl": kl}
