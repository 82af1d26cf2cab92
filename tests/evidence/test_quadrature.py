"""Families on a posterior that is no Gaussian, by quadrature over two latent units."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pyro_vae import (
    VAE,
    Family,
    FullRank,
    Local,
    LowRank,
    MeanField,
    SplineFlow,
    fit_local,
    log_evidence,
)
from pyro_vae.evidence import Importance

FAMILIES: dict[str, Family] = {
    "mean-field": MeanField(2),
    "low-rank": LowRank(2, 1),
    "full-rank": FullRank(2),
    "flow": SplineFlow(2),
}
NUM, SIDE = 4, 241


@pytest.fixture(scope="module")
def problem() -> tuple[VAE, Tensor, Tensor, Tensor, float]:
    """A curved decoder, data of its own, the grid `(G, 2)`, log p(x, z) on it `(G, NUM)`, and the
    area of a cell.
    """
    torch.manual_seed(1)
    model = VAE((1, 4, 4), 2, (16,)).double().requires_grad_(False).eval()
    for p in model.parameters():
        p.mul_(2.5)
    x = torch.bernoulli(model.sample(NUM))
    line = torch.linspace(-6, 6, SIDE, dtype=torch.double)
    grid = torch.cartesian_prod(line, line)
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(grid).sum(-1)
    likelihood = model.likelihood(model.decoder(grid)[:, None]).log_prob(x)
    return model, x, grid, prior[:, None] + likelihood, (line[1] - line[0]).item() ** 2


@pytest.fixture(scope="module")
def elbos(
    problem: tuple[VAE, Tensor, Tensor, Tensor, float], less_patience: None
) -> dict[str, Tensor]:
    """Each family's best ELBO of each datum, by quadrature, held to everything that it must be
    equal to on the way.
    """
    model, x, grid, joint, cell = problem
    log_px = torch.logsumexp(joint, 0) + math.log(cell)
    found = {}
    for name, family in FAMILIES.items():
        guide = fit_local(model, Local(family, NUM).double(), x, num_particles=20).guide
        log_q = guide.q(torch.arange(NUM)).log_prob(grid[:, None]).detach()  # (G, NUM)
        q = log_q.exp() * cell
        assert (q.sum(0) - 1).abs().max() < 1e-3, name
        found[name] = (q * (joint - log_q)).sum(0)
        divergence = (q * (log_q - (joint - log_px))).sum(0)
        torch.testing.assert_close(divergence, log_px - found[name], atol=0.02, rtol=0)
        est = log_evidence(model, guide, x, Importance(num_particles=20_000))
        # the grid's own error: it holds q's mass to 1e-3
        assert ((est.elbo - found[name]).abs() < 5 * est.elbo_error + 1e-3).all(), name
        assert ((est.log_px - log_px).abs() < 5 * est.log_px_error + 1e-3).all(), name
    return found


@pytest.mark.parametrize(
    ("poorer", "richer"),
    [("mean-field", "low-rank"), ("low-rank", "full-rank"), ("full-rank", "flow")],
)
def test_a_richer_family_is_never_worse(elbos: dict[str, Tensor], poorer: str, richer: str) -> None:
    gain = elbos[richer] - elbos[poorer]
    assert gain.min() > -2e-3 and gain.mean() > -1e-3, gain


def test_the_flow_bends(elbos: dict[str, Tensor]) -> None:
    assert (elbos["flow"] - elbos["full-rank"]).max() > 0.01
