"""The reference: the notebook's training loop, rewritten from its description.

torchvision's dataset through a DataLoader and ToTensor, binarized batch by batch; nn.Linear and
torch.distributions; `loss.item()` at each step; Adam. It uses only the data files of this project.
Called with a folder and a number of epochs, it prints the seconds of each epoch.
"""

from __future__ import annotations

import gzip
import shutil
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal, kl_divergence
from torch.utils.data import DataLoader

from sources.mnist import torchvision_mnist


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(784, 512), nn.Linear(512, 256)
        self.fc_mu, self.fc_logsigma = nn.Linear(256, 2), nn.Linear(256, 2)

    def forward(self, x: Tensor) -> Normal:
        h = torch.relu(self.fc2(torch.relu(self.fc1(x))))
        return Normal(self.fc_mu(h), torch.exp(self.fc_logsigma(h)))


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fcout = nn.Linear(2, 256), nn.Linear(256, 512), nn.Linear(512, 784)

    def forward(self, z: Tensor) -> Bernoulli:
        return Bernoulli(logits=self.fcout(torch.relu(self.fc2(torch.relu(self.fc1(z))))))


def elbo(x: Tensor, encoder: Encoder, decoder: Decoder) -> Tensor:
    q = encoder(x)
    z = q.rsample()
    kl = kl_divergence(q, Normal(0.0, 1.0)).sum(1)
    return (decoder(z).log_prob(x).sum(1) - kl).mean()


class NotebookLoop:
    """Trains and evaluates one epoch per call, as the notebook does."""

    def __init__(self, raw: Path) -> None:
        # imported after torchvision_mnist() has declared the operators
        mnist = torchvision_mnist()
        from torchvision.transforms import ToTensor

        torch.manual_seed(305)
        self.folder = tempfile.TemporaryDirectory()
        target = Path(self.folder.name, "MNIST/raw")
        target.mkdir(parents=True)
        for path in raw.glob("*.gz"):
            shutil.copy(path, target)
            (target / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        root = self.folder.name
        self.train = DataLoader(mnist.MNIST(root, train=True, transform=ToTensor()), 64, shuffle=True)
        self.test = DataLoader(mnist.MNIST(root, train=False, transform=ToTensor()), 64)
        self.encoder, self.decoder = Encoder(), Decoder()
        parameters = [*self.encoder.parameters(), *self.decoder.parameters()]
        self.optimizer = torch.optim.Adam(parameters, lr=3e-4)

    def epoch(self) -> tuple[float, float, float]:
        """Seconds of the epoch with its test pass, seconds of its training alone, and the test ELBO."""
        started_at = time.perf_counter()
        total = 0.0
        for images, _ in self.train:
            x = (images.reshape(len(images), -1) >= 0.5).float()
            self.optimizer.zero_grad()
            loss = -elbo(x, self.encoder, self.decoder)
            loss.backward()
            total -= loss.item() * len(x)
            self.optimizer.step()
        trained_at = time.perf_counter()
        score = 0.0
        with torch.no_grad():
            for images, _ in self.test:
                x = (images.reshape(len(images), -1) >= 0.5).float()
                score += elbo(x, self.encoder, self.decoder).item() * len(x)
        ended_at = time.perf_counter()
        return ended_at - started_at, trained_at - started_at, score / 10_000


if __name__ == "__main__":
    loop = NotebookLoop(Path(sys.argv[1]))
    for _ in range(int(sys.argv[2])):
        print("{:.3f} {:.3f} {:.3f}".format(*loop.epoch()), flush=True)
