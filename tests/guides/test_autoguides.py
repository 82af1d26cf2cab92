"""Pyro's own guides, unchanged: for a few data, since their parameters belong to the very data that they have seen."""

from __future__ import annotations

import pyro
import pytest
import torch
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal

from pyro_vae import LinearGaussian, fit_local, gap_ledger, log_evidence


def make(num_data: int) -> tuple[LinearGaussian, torch.Tensor]:
    torch.manual_seed(0)
    model = LinearGaussian(5, 2, sigma=0.7)
    return model, model.sample(num_data) + 0.7 * torch.randn(num_data, 5)


def test_auto_normal_finds_the_mean_field_optimum_of_each_datum() -> None:
    model, x = make(3)
    guide = fit_local(model, AutoNormal(model), x, num_steps=2000)
    est = log_evidence(model, guide, x, num_particles=5000)
    best = model.log_px(x) - model.mean_field_gap()
    assert ((est.elbo - best).abs() < 5 * est.elbo_error + 5e-3).all(), (est.elbo, best, est.elbo_error)
    assert ((est.log_px - model.log_px(x)).abs() < 5 * est.log_px_error).all()


def test_auto_multivariate_normal_finds_the_posterior_of_one_datum() -> None:
    model, x = make(3)
    for row in x.split(1):
        pyro.clear_param_store()
        guide = fit_local(model, AutoMultivariateNormal(model), row, num_steps=2000)
        est = log_evidence(model, guide, row, num_particles=5000)
        assert (est.elbo - model.log_px(row)).abs().item() < 5e-3
        assert (est.log_px - model.log_px(row)).abs().item() < 5 * est.log_px_error.item()
    ledger = gap_ledger(model, {"auto": guide}, row, num_particles=200)
    assert abs(ledger.entries["auto"].inference.mean) < 0.01


def test_a_guide_of_all_data_at_once_has_no_weight_for_one_of_them() -> None:
    model, x = make(3)
    with pytest.raises(ValueError, match=r"one draw for all 3 data.*or a single datum"):
        log_evidence(model, AutoMultivariateNormal(model), x, num_particles=5)
