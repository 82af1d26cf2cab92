"""Two stochastic layers through the same fit, weights and evidence as one."""

from __future__ import annotations

import math

import pytest
import torch

from pyro_vae import Bernoulli, HierarchicalGuide, HierarchicalVAE, fit, log_evidence
from pyro_vae.evidence import Importance
from pyro_vae.objectives import Bound

SHAPE = (1, 3, 2)


def test_evidence_is_that_of_quadrature() -> None:
    torch.manual_seed(0)
    model = HierarchicalVAE(SHAPE, 1, 1, (4,), (3,)).double()
    guide = HierarchicalGuide(SHAPE, 1, 1, (4,), (3,)).double()
    x = torch.rand(5, *SHAPE).round().double()
    grid = torch.linspace(-8, 8, 801, dtype=torch.double)[:, None]  # (G, 1)
    step = (grid[1] - grid[0]).item()
    with torch.no_grad():
        top = model.prior(grid).log_prob(grid)  # (G,)
        middle = model.middle(grid[:, None]).log_prob(grid)  # (G of the top, G of the middle)
        likelihood = model.likelihood(model.decoder(grid)[:, None]).log_prob(x)  # (G, 5)
        marginal = torch.logsumexp(top[:, None] + middle, 0) + math.log(step)  # of the middle layer
        exact = torch.logsumexp(marginal[:, None] + likelihood, 0) + math.log(step)
    est = log_evidence(model, guide, x, Importance(num_particles=50_000))
    assert ((est.log_px - exact).abs() < 5 * est.log_px_error).all(), (
        est.log_px,
        exact,
        est.log_px_error,
    )
    assert (est.elbo < exact).all()


@pytest.mark.parametrize("loss", [Bound(1, 1.0), Bound(5), Bound(5, path_only=True)])
def test_trains(loss: Bound) -> None:
    torch.manual_seed(0)
    # all on or all off
    x = (torch.rand(100, 1) < 0.5).float()[:, :, None, None].expand(100, *SHAPE).contiguous()
    model, guide = (
        HierarchicalVAE(SHAPE, 2, 3, (8,), (8,)),
        HierarchicalGuide(SHAPE, 2, 3, (8,), (8,)),
    )
    adam = lambda params: torch.optim.Adam(params, lr=0.02)  # noqa: E731
    fit(model, guide, x, epochs=30, batch_size=50, loss=loss, optimizer=adam, quiet=True)
    # 0.69 is the least, 4.2 for fair coins
    assert log_evidence(model, guide, x, Importance(num_particles=200)).mean > -1.6


def test_starts_from_the_mean() -> None:
    mean = torch.full(SHAPE, 0.2)
    model = HierarchicalVAE(SHAPE, 2, 3, (8,), (8,), mean=mean)
    with torch.no_grad():
        model.decoder.head.weight.zero_()
    torch.testing.assert_close(model.sample(4), mean.expand(4, *SHAPE))
    with pytest.raises(ValueError, match="mean: got shape"):
        model.center(mean[0])
    with pytest.raises(ValueError, match="x: got shape"):
        model.check_data(torch.zeros(2, 6))
    assert isinstance(model.likelihood, Bernoulli)
