"""The objective of a VAE: the negative importance-weighted bound, with doubly reparametrized gradients."""

from dataclasses import dataclass

import torch
from torch import Tensor

from elbo.bounds import log_likelihood, log_normal
from elbo.determinism import stream
from elbo.models.layers import drop
from elbo.negative_elbo import NegativeElbo
from elbo.training import Loss


@dataclass(frozen=True)
class NegativeIwae(NegativeElbo):
    """−IWAE_k (Burda, Grosse and Salakhutdinov 2016), in nats per image.

    Its gradient for the encoder is the doubly reparametrized one (Tucker and others 2019), which goes through
    the samples alone and does not lose its signal as k grows. The figures of an epoch are those of the ELBO,
    means over the k samples.

    Attributes:
        k: posterior samples of each image.
    """

    k: int = 2

    def epoch(self, number: int) -> Loss:
        noise = stream(self.seed, "posterior", number)
        dropout = stream(self.seed, "dropout", number)
        images = self.train.epoch(number)

        def loss(index: Tensor, _seen: int) -> tuple[Tensor, Tensor]:
            x = images[index]
            q = self.model.encoder(drop(x, self.input_dropout, dropout, rescale=False))
            z = q.sample(torch.randn(self.k, len(x), self.model.latent, generator=noise))
            logits = self.model.decoder(z.flatten(0, 1)).unflatten(0, z.shape[:2])
            likelihood = log_likelihood(logits, x)
            # log q depends on the encoder through z alone
            ratio = q.detach().log_prob(z) - log_normal(z)
            log_weights = likelihood - ratio
            shares = log_weights.detach().softmax(0)
            z.register_hook(lambda gradient: gradient * shares.unsqueeze(-1))
            bound = (shares * log_weights).sum()
            sums = torch.stack([likelihood.detach().sum(), ratio.detach().sum()]) / self.k
            return -bound / len(x), sums

        return loss
