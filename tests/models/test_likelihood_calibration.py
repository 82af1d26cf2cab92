"""Each likelihood is calibrated under its own model, by the exact posterior on a grid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import pyro_vae as pv
from tests.models.likelihoods import FIRST, SIZE, Row


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    torch.manual_seed(0)
    pyro.clear_param_store()
    yield


class GridPosterior(nn.Module):
    """The posterior of a one-dimensional latent on a grid, uniform within its cells."""

    def __init__(self, model: pv.VAE, num_cells: int = 300) -> None:
        super().__init__()
        self.decoder, self.likelihood = model.decoder, model.likelihood
        self.edges = torch.linspace(-5, 5, num_cells + 1)

    def forward(self, x: Tensor, index: Tensor | None = None) -> None:
        z = (self.edges[1:] + self.edges[:-1]) / 2
        fn = self.likelihood(self.decoder(z[:, None])[:, None])
        log_joint = fn.log_prob(x) - z[:, None] ** 2 / 2  # (cells, B)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("latent", Cells(log_joint.T, self.edges).to_event(1))


class Cells(dist.TorchDistribution):
    """A histogram, of event shape () and batch shape (B, 1)."""

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012
    support = torch.distributions.constraints.real

    def __init__(self, logits: Tensor, edges: Tensor) -> None:
        self.logits, self.edges = logits.log_softmax(-1), edges
        super().__init__((*logits.shape[:-1], 1), validate_args=False)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        cell = torch.distributions.Categorical(logits=self.logits).sample(torch.Size(sample_shape))
        width = self.edges[1] - self.edges[0]
        return (self.edges[cell] + width * torch.rand(cell.shape)).unsqueeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        width = self.edges[1] - self.edges[0]
        number = len(self.edges) - 1
        cell = ((value - self.edges[0]) / width).floor().long().clamp(0, number - 1)
        logits = self.logits.expand(*cell.shape[:-1], number)
        return logits.gather(-1, cell) - width.log()

    def expand(self, batch_shape: Any, _instance: Any = None) -> Cells:
        return Cells(self.logits.expand(*batch_shape[:-1], -1), self.edges)


@FIRST
def test_is_calibrated_under_its_own_model(row: Row) -> None:
    model = pv.VAE((SIZE,), 1, (4,), row.make())
    model.start(row.data((200, SIZE)))
    with torch.no_grad():
        model.decoder.head.weight.mul_(3)
    found = pv.check_calibration(
        model,
        GridPosterior(model),
        torch.zeros(1, SIZE),
        num_simulations=200,
        num_draws=19,
        alpha=1e-3,
    )
    assert found.verdict.startswith("calibrated"), found.verdict
