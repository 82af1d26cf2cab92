from __future__ import annotations

import pytest
import torch

from pyro_vae import MLP, Amortized, MeanField
from pyro_vae.diagnostics import active_units, unit_variances


def test_variances_of_a_known_encoder() -> None:
    guide = Amortized(MeanField(3), MLP(3, ()))
    with torch.no_grad():
        guide.head.weight.zero_()
        guide.head.weight[0, 0], guide.head.weight[1, 1] = 1.0, 0.05
    x = torch.randn(5000, 3)
    variances = unit_variances(guide, x)
    torch.testing.assert_close(
        variances, torch.stack([x[:, 0].var(), x[:, 1].var() * 0.05**2, torch.tensor(0.0)])
    )
    assert active_units(guide, x) == 1


def test_batches_make_no_difference() -> None:
    guide, x = Amortized(MeanField(2), MLP(3, (4,))), torch.randn(50, 3)
    torch.testing.assert_close(unit_variances(guide, x, batch_size=7), unit_variances(guide, x))


def test_one_datum_has_no_variance() -> None:
    with pytest.raises(ValueError, match="at least two"):
        active_units(Amortized(MeanField(2), MLP(3, ())), torch.randn(1, 3))
