"""The objective of a VAE: the negative ELBO, by single reparametrized samples."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from elbo.bounds import log_likelihood, total_log_likelihood
from elbo.determinism import stream
from elbo.models.layers import drop
from elbo.models.vae import VAE
from elbo.training import Loss, Scores

EVALUATION_BATCH = 2000  # images a pass: logits of 6 MB stay in the cache


@dataclass(frozen=True)
class NegativeElbo:
    """−ELBO by single reparametrized samples (Kingma and Welling 2014), in nats per image."""

    model: VAE
    train: Tensor  # (N, pixels) of 0.0 and 1.0
    held_out: Mapping[str, Tensor]  # images by split
    seed: int
    input_dropout: float

    @property
    def size(self) -> int:
        return len(self.train)

    def epoch(self, number: int) -> Loss:
        noise = torch.randn(self.size, self.model.latent, generator=stream(self.seed, "posterior", number))
        dropout = stream(self.seed, "dropout", number)

        def loss(index: Tensor, seen: int) -> tuple[Tensor, Tensor]:
            x = self.train[index]
            q = self.model.encoder(drop(x, self.input_dropout, dropout, rescale=False))
            z = q.sample(noise[seen : seen + len(x)])
            reconstruction = total_log_likelihood(self.model.decoder(z), x)
            kl = q.kl().sum()
            return (kl - reconstruction) / len(x), torch.stack([reconstruction.detach(), kl.detach()])

        return loss

    @staticmethod
    def figures(means: Tensor) -> dict[str, float]:
        """ELBO = reconstruction − KL, from the means (2,) of both."""
        reconstruction, kl = means.tolist()
        return {"elbo": reconstruction - kl, "reconstruction": reconstruction, "kl": kl}

    def scores(self, number: int) -> Scores:
        return {
            split: score(self.model, images, stream(self.seed, f"score {split}", number))
            for split, images in self.held_out.items()
        }


@torch.no_grad()
def score(model: VAE, images: Tensor, generator: torch.Generator) -> dict[str, float]:
    """The ELBO of images (N, pixels) by one posterior sample each, and its two terms: nats per image."""
    totals = torch.zeros(2, dtype=torch.float64)
    for x in images.split(EVALUATION_BATCH):
        q = model.encoder(x)
        z = q.sample(torch.randn(q.mean.shape, generator=generator))
        totals[0] += log_likelihood(model.decoder(z), x).double().sum()
        totals[1] += q.kl().double().sum()
    return NegativeElbo.figures(totals / len(images))
