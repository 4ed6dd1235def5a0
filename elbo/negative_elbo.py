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
class TrainingImages:
    """Binary images to train on.

    Attributes:
        images: (N, pixels) of 0.0 and 1.0.
        intensities: (N, pixels) uint8, if each epoch samples its images anew: a pixel is 1 with probability
            intensity / 255 (dynamic binarization).
        seed: of that sampling.
    """

    images: Tensor
    intensities: Tensor | None = None
    seed: int = 0

    def __len__(self) -> int:
        return len(self.images)

    def epoch(self, number: int) -> Tensor:
        """(N, pixels) of 0.0 and 1.0, the images of an epoch."""
        if self.intensities is None:
            return self.images
        generator = stream(self.seed, "binarization", number)
        chance = torch.rand(self.intensities.shape, generator=generator).mul_(255)
        return (chance < self.intensities).float()


@dataclass(frozen=True)
class NegativeElbo:
    """−ELBO by single reparametrized samples (Kingma and Welling 2014), in nats per image.

    Attributes:
        input_dropout: share of the encoder's pixels that are set to 0.
        beta: the weight of the KL divergence (Higgins and others 2017); 1 is the ELBO.
        rising: epochs over which the weight rises linearly from 0 (Bowman and others 2016).
    """

    model: VAE
    train: TrainingImages
    held_out: Mapping[str, Tensor]  # images by split
    seed: int
    input_dropout: float
    beta: float = 1.0
    rising: float = 0.0

    @property
    def size(self) -> int:
        return len(self.train)

    def epoch(self, number: int) -> Loss:
        noise = torch.randn(self.size, self.model.latent, generator=stream(self.seed, "posterior", number))
        dropout = stream(self.seed, "dropout", number)
        images = self.train.epoch(number)

        def loss(index: Tensor, seen: int) -> tuple[Tensor, Tensor]:
            x = images[index]
            q = self.model.encoder(drop(x, self.input_dropout, dropout, rescale=False))
            z, terms = q.draw(noise[seen : seen + len(x)])
            reconstruction = total_log_likelihood(self.model.decoder(z), x)
            kl = terms.sum()
            weight = self.weight(number - 1 + seen / self.size)
            weighted = kl if weight == 1 else weight * kl
            return (weighted - reconstruction) / len(x), torch.stack([reconstruction.detach(), kl.detach()])

        return loss

    def weight(self, epochs: float) -> float:
        """The weight of the KL divergence after a number of epochs."""
        return self.beta * min(1.0, epochs / self.rising) if self.rising else self.beta

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
        z, terms = model.encoder(x).draw(torch.randn(len(x), model.latent, generator=generator))
        totals[0] += log_likelihood(model.decoder(z), x).double().sum()
        totals[1] += terms.double().sum()
    return NegativeElbo.figures(totals / len(images))
