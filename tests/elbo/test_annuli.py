"""The notebook's problem 2: its points, and each step of its training."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from torch import nn
from torch.distributions import Uniform

from elbo.exercises import annuli
from elbo.models import classifier
from elbo.negative_log_likelihood import NegativeLogLikelihood, score
from elbo.optimization import Optimizer
from elbo.training import epochs
from stages.schema import Params
from workflow.core.params import load


class NotebookNet(nn.Module):
    """The network as the notebook writes it, which fixes its random draws and its loss."""

    def __init__(self, widths: Sequence[int] = (2, 3, 5, 1)) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fcout = (nn.Linear(a, b) for a, b in itertools.pairwise(widths))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.fc2(torch.relu(self.fc1(x))))
        logits: torch.Tensor = self.fcout(h).squeeze(1)
        return logits


def test_annuli_and_classifier_reproduce_the_notebook_at_every_step() -> None:
    torch.manual_seed(305)
    rings = []
    for inner, outer in ((0, 2.5), (3.5, 5)):
        r = Uniform(inner, outer).sample((250,))
        angle = Uniform(0, 2 * math.pi).sample((250,))
        rings.append(torch.vstack([r * torch.cos(angle), r * torch.sin(angle)]).T)
    data = torch.vstack([rings[1], rings[0]])
    labels = torch.concat([torch.zeros(250), torch.ones(250)])
    points, found = annuli.sample(500, (0.0, 2.5), (3.5, 5.0), 305)
    torch.testing.assert_close(points, data)
    assert torch.equal(found.float(), labels)

    torch.manual_seed(305)
    reference = NotebookNet()
    sgd = torch.optim.SGD(reference.parameters(), lr=1.0)
    losses = []
    for _ in range(1000):
        sgd.zero_grad()
        loss = nn.BCEWithLogitsLoss()(reference(data), labels)
        loss.backward()
        sgd.step()
        losses.append(loss.item())
    (chosen,) = load(Params, "classifier.annuli")
    init = torch.Generator().manual_seed(305)
    model = classifier.Classifier(2, chosen.hidden, 2, "relu", init)
    objective = NegativeLogLikelihood(model, (points, found), {}, chosen.seed, 0.0, 0.0)
    optimizer = Optimizer(model, chosen, objective.size)
    trained = list(epochs(objective, chosen, optimizer))
    assert [epoch.splits["train"]["nll"] for epoch in trained] == pytest.approx(losses, rel=1e-3)
    assert losses[-1] == pytest.approx(0.00080, abs=0.00001)
    assert score(model, points, found)["accuracy"] == 1.0
