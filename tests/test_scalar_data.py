"""A datum may be one value: `x` of shape (N,) goes through loading, training, evidence, diagnostics
and export.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_vae as pv
from pyro_vae.report.export import draws_to_arviz

SCALE = 0.5
VARIANCE = 1 + SCALE**2


def model(x: torch.Tensor, index: Any = None) -> None:
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("obs", dist.Normal(z, SCALE), obs=x)


def guide(x: torch.Tensor, index: Any = None) -> None:
    slope = pyro.param("slope", torch.tensor(0.5))
    width = pyro.param("width", torch.tensor(1.0), constraint=dist.constraints.positive)
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(slope * x, width))


@pytest.fixture
def x() -> torch.Tensor:
    return math.sqrt(VARIANCE) * torch.randn(200, generator=torch.Generator().manual_seed(3))


def test_a_program_of_one_s_own_is_trained_on_numbers_and_measured(x: torch.Tensor) -> None:
    pv.fit(model, guide, x, epochs=25, batch_size=8, valid=0, warmup_epochs=0, quiet=True)
    # of the exact posterior
    assert pyro.param("slope").item() == pytest.approx(1 / VARIANCE, abs=0.15)
    truth = dist.Normal(0.0, math.sqrt(VARIANCE)).log_prob(x)
    for method in (pv.Importance(), pv.Annealed(100), pv.Quadrature(), pv.Best(), pv.Laplace()):
        found = pv.log_evidence(model, guide, x[:20], method)
        error = (
            found.log_px_error.square().sum().sqrt().item() + 1e-4
        )  # float32's rounding, of twenty data
        assert abs((found.log_px - truth[:20]).sum().item()) < 5 * error, (
            method,
            found.mean,
            truth[:20].mean(),
        )
    assert pv.latent_units(model, guide, x).num_active == 1  # type: ignore[union-attr]
    assert draws_to_arviz(model, guide, x[:4])["posterior_predictive"]["x"].shape == (1, 100, 4)
    assert pv.check_calibration(model, guide, x, num_simulations=60, num_draws=9).verdict
    assert pv.gap_ledger(
        model, {"mine": guide}, x[:5], method=pv.Importance(num_particles=50)
    ).log_px.shape == (5,)


@pytest.mark.parametrize("kind", ["real", "binary"])
def test_a_file_of_numbers_is_a_set(kind: str, x: torch.Tensor, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", x.numpy() if kind == "real" else x.numpy() > 0)
    data = pv.load(tmp_path / "x.npy")
    assert data.shape == () and data.size == 1 and data.is_binary == (kind == "binary")
    assert len(data.train) == 160 and data.test.x.shape == (20,)


@pytest.mark.parametrize("learn", ["shared", "pixel", "output"])
def test_a_vae_of_one_value(learn: Any, x: torch.Tensor) -> None:
    x = 100 + 7 * x  # whose units are learned
    torch.manual_seed(0)
    vae = pv.VAE((), 1, (8,), likelihood=pv.Gaussian(learn=learn))
    run = pv.fit(vae, pv.EncoderGuide((), 1, (8,)), x, epochs=30, quiet=True)
    entropy = 0.5 * math.log(2 * math.pi * math.e * 49 * VARIANCE)
    assert run.history[-1]["valid_elbo"] == pytest.approx(-entropy, abs=0.5)
    assert vae.sample(5).shape == (5,) and (vae.sample(5) > 70).all()


def test_a_bernoulli_of_one_value(x: torch.Tensor) -> None:
    vae, encoder = pv.VAE((), 1, (8,)), pv.EncoderGuide((), 1, (8,))
    run = pv.fit(vae, encoder, (x > 0).numpy(), epochs=5, quiet=True)
    assert -1.5 < run.history[-1]["valid_elbo"] < -0.3


def test_a_linear_gaussian_of_one_value() -> None:
    linear = pv.LinearGaussian((), 1, sigma=0.5)
    y = linear.sample(6)
    assert y.shape == (6,)
    found = pv.log_weights(linear, pv.ExactGuide(linear), y)[0]
    torch.testing.assert_close(found, linear.log_px(y), atol=1e-4, rtol=0)
