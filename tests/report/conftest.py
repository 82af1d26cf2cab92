"""A model, data and draws."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pyro_vae import LinearGaussian, Local, MeanField
from pyro_vae.report.export import draws_to_arviz
from tests.report.draws import DRAWS, NUM
from tests.scenarios import linear_gaussian


@pytest.fixture(scope="module")
def made() -> tuple[LinearGaussian, torch.Tensor, Any]:
    """A model, data, and the draws of its best mean-field guide."""
    model, x = linear_gaussian(NUM)
    q, guide = model.optimal_mean_field(x), Local(MeanField(2), NUM).double()
    with torch.no_grad():
        guide.table.copy_(torch.cat([q.mean, q.variance.log() / 2], -1))
    state = torch.get_rng_state()
    data = draws_to_arviz(model, guide, x, num_draws=DRAWS)
    assert torch.equal(torch.get_rng_state(), state)
    return model, x, data
