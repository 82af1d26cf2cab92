"""Predictive checks, held to data of the model and to data of another one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import pyro_vae as pv
from tests.scenarios import linear_gaussian

MODEL, X = linear_gaussian(300)
GUIDE = pv.ExactGuide(MODEL)


def checked(x: Tensor, **options: object) -> pv.Predictions:
    return pv.check_predictions(MODEL, GUIDE, x, num_draws=40, num_simulated=400, **options)  # type: ignore[arg-type]


def test_data_of_the_model_are_placed_uniformly() -> None:
    found = checked(X)
    assert not found.too_many and "such as the model simulates" in found.verdict
    for level in (0.1, 0.5, 0.9):  # both samples are finite
        held = (found.place <= level).double().mean()
        error = math.sqrt(level * (1 - level) * (1 / 300 + 1 / 400))
        assert abs(held - level) < 5 * error
    # x is used twice: in the middle more often than a uniform number is
    assert (found.fit - 0.5).square().mean() < 1 / 12
    assert abs(found.fit.mean() - 0.5) < 5 * found.fit.std() / math.sqrt(300) + 0.05
    torch.testing.assert_close(found.elbo, MODEL.log_px(X))  # of an exact guide


@pytest.mark.parametrize(("noise", "side"), [(3.0, "stranger"), (0.1, "plainer")])
def test_data_of_another_noise_lie_outside(noise: float, side: str) -> None:
    torch.manual_seed(1)
    x = MODEL.sample(100) + noise * 0.7 * torch.randn(100, 5).double()
    found = checked(x)
    assert found.too_many and side in found.verdict, found.verdict
    low = found.fit.mean()
    assert low < 0.2 if side == "stranger" else low > 0.7


def test_the_default_is_the_closed_form_of_a_gaussian_likelihood() -> None:
    """At given z, |x~ - W z|^2 / sigma^2 is chi-square of D, whatever z."""
    chosen = X[:20]
    found = pv.check_predictions(MODEL, GUIDE, chosen, num_draws=2000, num_simulated=20)
    q = MODEL.posterior(chosen)
    torch.manual_seed(3)
    z = q.sample((4000,))
    far = ((chosen - z @ MODEL.loading.T - MODEL.mean) / 0.7).square().sum(-1)
    chi = 1 - torch.special.gammainc(torch.tensor(2.5).double(), far / 2)
    error = chi.std(0) / math.sqrt(4000) + 0.5 / math.sqrt(2000)
    assert ((found.fit - chi.mean(0)).abs() < 5 * error).all()


def test_a_discrepancy_of_one_s_own_sees_what_it_looks_at() -> None:
    x = X[:40].clone()
    x[:, 0] += 6.0
    largest = checked(x, discrepancy=lambda data: data.abs().amax(-1))
    assert largest.misfits.double().mean() > 0.5
    least = checked(x, discrepancy=lambda data: -data.abs().amax(-1))
    assert least.misfits.double().mean() < 0.1
    with pytest.raises(ValueError, match=r"discrepancy: .*one number for each datum"):
        checked(x, discrepancy=lambda data: data)


@pytest.mark.parametrize("layers", [1, 2])
def test_networks_and_several_sites(layers: int) -> None:
    torch.manual_seed(0)
    x = (torch.rand(12, 1, 4, 4) > 0.5).float()
    model = pv.VAE((1, 4, 4), 2, (8,)) if layers == 1 else pv.HierarchicalVAE((1, 4, 4), 2, 3, (8,))
    guide = (
        pv.EncoderGuide((1, 4, 4), 2, (8,))
        if layers == 1
        else pv.HierarchicalGuide((1, 4, 4), 2, 3, (8,))
    )
    found = pv.check_predictions(model, guide, x, num_draws=20, num_simulated=20)
    assert found.fit.shape == found.place.shape == (12,)
