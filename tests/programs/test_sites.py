"""Sites of any shape: scalars, events, inner plates."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyro_vae as pv
from pyro_vae.evidence import Annealed, rate_distortion_curve
from tests.programs.scalar import SQRT2, scalar_guide, scalar_log_px, scalar_model

METHODS = (pv.Importance(), pv.Annealed(100), pv.Quadrature(), pv.Best(), pv.Laplace())


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_a_scalar_latent_goes_through_every_method(method: pv.Method) -> None:
    x = torch.tensor([[-1.0], [0.3], [2.0]])
    found = pv.log_evidence(scalar_model, scalar_guide, x, method)
    off = (found.log_px - scalar_log_px(x)).abs()
    # float32's rounding, where there is no noise
    assert (off <= 5 * found.log_px_error + 1e-5).all(), (off, found.log_px_error)


def test_a_scalar_latent_is_annealed_both_ways_and_along_the_curve() -> None:
    found = pv.sandwich(
        scalar_model, None, torch.zeros(1, 1), num_data=8, method=pv.Annealed(num_temperatures=50)
    )
    truth = scalar_log_px(found.x)
    assert (found.forward.log_px - truth).mean() < 5 * found.forward.monte_carlo_error
    curve = rate_distortion_curve(
        scalar_model,
        torch.zeros(2, 1),
        num_points=2,
        method=Annealed(start="prior", num_temperatures=20),
    )
    assert curve.rate.shape == (2, 2)


def test_a_scalar_beside_a_vector() -> None:
    def model(x: Tensor, index: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            y = pyro.sample("y", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("obs", dist.Normal(z + y.sum(-1), 1.0), obs=x[:, 0])

    x = torch.tensor([[-1.0], [2.0]])
    found = pv.log_evidence(
        model, scalar_guide, x, pv.Annealed(start="prior", num_temperatures=200, num_chains=50)
    )
    off = found.log_px - dist.Normal(0.0, 2.0).log_prob(x[:, 0])
    assert (off.abs() <= 5 * found.log_px_error).all(), (off, found.log_px_error)


def inner_model(x: Tensor, index: Tensor | None = None) -> None:
    with pyro.plate("data", len(x), dim=-1), pyro.plate("inner", 3, dim=-2):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("obs", dist.Normal(z, 1.0), obs=x.T)


def without_inner_plate(x: Tensor, index: Tensor | None = None) -> None:
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(x.mean(-1) / 2, 0.8))


def event_model(x: Tensor, index: Tensor | None = None) -> None:
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        pyro.sample("obs", dist.Normal(z, 1.0).to_event(1), obs=x)


def event_of_one(x: Tensor, index: Tensor | None = None) -> None:
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(x.mean(-1, keepdim=True) / 2, 0.8).to_event(1))


def free_model(x: Tensor, index: Tensor | None = None) -> None:
    """z is in the data plate alone, and x does not depend on it."""
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("obs", dist.Normal(torch.zeros(3), 1.0).to_event(1), obs=x)


def inner_guide(x: Tensor, index: Tensor | None = None) -> None:
    with pyro.plate("data", len(x), dim=-1), pyro.plate("inner", 3, dim=-2):
        pyro.sample("z", dist.Normal(x.T / 2, 0.8))


SHAPES = {
    "an inner plate forgotten by the guide": (inner_model, without_inner_plate, (1, 4), (3, 4)),
    "an event of one value for three": (event_model, event_of_one, (4, 1), (4, 3)),
    "an inner plate that the model has not": (free_model, inner_guide, (3, 4), (1, 4)),
}


@pytest.mark.parametrize("case", SHAPES)
def test_a_value_of_another_shape_is_refused_by_the_site_and_both_shapes(case: str) -> None:
    model, guide, got, expected = SHAPES[case]
    with pytest.raises(ValueError) as caught:
        pv.log_evidence(model, guide, torch.randn(4, 3), pv.Importance(num_particles=10))
    message = str(caught.value)
    assert "site 'z'" in message and str(got) in message and str(expected) in message


def test_the_right_shapes_pass() -> None:
    x = torch.randn(4, 3)
    exact = dist.Normal(0.0, SQRT2).log_prob(x).sum(-1)
    found = pv.log_evidence(inner_model, inner_guide, x, pv.Importance(num_particles=20_000))
    assert ((found.log_px - exact).abs() <= 5 * found.log_px_error).all()
