"""Quadrature against what is known exactly."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_vae import VAE, LinearGaussian, Local, MeanField
from pyro_vae.evidence import Best, Importance, Quadrature, log_evidence
from pyro_vae.evidence.exact import IntegratedEstimate
from pyro_vae.programs.traces import prior
from tests.scenarios import linear_gaussian


@pytest.mark.parametrize("dim", [1, 2])
def test_quadrature_is_exact_on_gaussians(dim: int) -> None:
    model, x = linear_gaussian(5, dim)
    found = log_evidence(model, None, x, Quadrature())
    assert (found.log_px - model.log_px(x)).abs().max() < 1e-9 and found.log_px_error.max() < 1e-9
    assert found.reliable.all() and found.evaluations >= 201**dim
    coarse = log_evidence(model, None, x, Quadrature(num_points=51))
    off = (coarse.log_px - model.log_px(x)).abs()
    assert (off <= coarse.log_px_error + 1e-9).all()  # float64's rounding


@pytest.mark.parametrize("sigma", [1e-1, 1e-3, 1e-5])
def test_quadrature_finds_a_posterior_far_narrower_than_the_prior(sigma: float) -> None:
    model = LinearGaussian(3, 2, sigma=sigma).double()
    x = model.sample(3)
    found = log_evidence(model, None, x, Quadrature(num_points=51))
    assert (  # rounding, at densities of 1e10
        (found.log_px - model.log_px(x)).abs() <= found.log_px_error + 1e-6
    ).all() and found.reliable.all()


def folded(sigma: float) -> Any:
    """x depends on |z|: two modes, far narrower than the first grid is fine."""

    def model(x: torch.Tensor, index: Any = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("latent", dist.Normal(torch.zeros(1).double(), 1.0).to_event(1))
            pyro.sample("obs", dist.Normal(z.abs(), sigma).to_event(1), obs=x)

    return model


@pytest.mark.parametrize("sigma", [0.3, 0.01, 0.001])
def test_quadrature_loses_no_mode_without_saying_so(sigma: float) -> None:
    x = torch.linspace(0.5, 1.5, 20).double()[:, None]
    model = folded(sigma)
    wide = math.hypot(1, sigma)  # half of the line: x = z + noise, cut at 0
    inside = dist.Normal(0.0, 1.0).cdf(x[:, 0] / (wide * sigma))
    truth = math.log(2) + dist.Normal(0.0, wide).log_prob(x[:, 0]) + inside.log()
    found = log_evidence(model, None, x, Quadrature())
    off = (found.log_px - truth).abs()
    assert ((off < 1e-2) | ~found.reliable).all(), (off, found.log_px_error)
    lower, upper = found.interval()
    assert ((lower <= truth) & (truth <= upper))[~found.reliable].all()
    assert sigma < 0.2 or found.reliable.all()
    chosen = log_evidence(model, prior(model), x, Best(num_particles=2000, num_temperatures=20))
    assert chosen.method.startswith("quadrature") == bool(found.reliable.all())
    if found.reliable.all():  # an error of discretisation stays one
        torch.testing.assert_close(chosen.interval(0.5), found.interval())


def test_an_error_of_discretisation_is_no_noise() -> None:
    made = IntegratedEstimate(
        torch.tensor([-10.0, -12.0]).double(),
        torch.tensor([0.001, 45.0]).double(),
        1.0,
        0.0,
        0,
        num_points=51,
    )
    lower, upper = made.interval()
    assert lower[0] == pytest.approx(-10.001) and upper[0] == pytest.approx(-9.999)
    assert math.isinf(lower[1]) and math.isinf(upper[1]) and math.isinf(made.mean_interval()[1])


def test_quadrature_agrees_with_weights_on_a_decoder() -> None:
    torch.manual_seed(0)
    model = VAE((6,), 2, (8,))
    x = torch.bernoulli(model.sample(5))
    found = log_evidence(model, None, x, Quadrature(num_points=101))
    weights = log_evidence(model, Local(MeanField(2), 5), x, Importance(num_particles=50_000))
    assert ((found.log_px - weights.log_px).abs() < 5 * weights.log_px_error).all()


def test_quadrature_refuses_more_than_two_latents() -> None:
    model, x = linear_gaussian(dim=3)
    with pytest.raises(ValueError, match="got 3 latent values per datum"):
        log_evidence(model, None, x, Quadrature())
    with pytest.raises(ValueError, match="odd number"):
        Quadrature(num_points=100)
