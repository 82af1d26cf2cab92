"""Sites whose support is a part of the line."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyro_vae as pv
from pyro_vae.programs.traces import constrained, log_weights, prior
from tests.programs.scalar import scalar_guide, scalar_model


def waiting_model(x: Tensor, index: Tensor | None = None) -> None:
    """s ~ Exponential(1), x ~ N(s, 1)."""
    with pyro.plate("data", len(x), dim=-1):
        s = pyro.sample("s", dist.Exponential(1.0))
        pyro.sample("obs", dist.Normal(s, 1.0), obs=x[:, 0])


def precision_model(x: Tensor, index: Tensor | None = None) -> None:
    """A likelihood that is NaN where the prior has no mass."""
    with pyro.plate("data", len(x), dim=-1):
        s = pyro.sample("s", dist.Gamma(3.0, 2.0))
        pyro.sample("obs", dist.Normal(0.0, s.rsqrt()), obs=x[:, 0])


def normal_guide(x: Tensor, index: Tensor | None = None) -> None:
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("s", dist.Normal(1.5 + 0 * x[:, 0], 0.8))


def hard_model(x: Tensor, index: Tensor | None = None) -> None:
    """z ~ N(0, 1), x ~ U(z - 1, z + 1)."""
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("obs", dist.Uniform(z - 1, z + 1), obs=x[:, 0])


def on_a_grid(log_joint: Any, low: float, high: float) -> Tensor:
    """log of an integral over s by 400,001 points, for each datum."""
    s = torch.linspace(low, high, 400_001, dtype=torch.double)[1:, None]
    return torch.logsumexp(log_joint(s), 0) + math.log((high - low) / 400_000)


def test_a_particle_outside_the_support_weighs_nothing() -> None:
    x = torch.tensor([[-1.0], [0.5], [2.0]])
    log_w = log_weights(waiting_model, normal_guide, x, num_particles=2000)
    assert torch.isneginf(log_w).any() and not torch.isnan(log_w).any()
    exact = on_a_grid(lambda s: -s + dist.Normal(s, 1.0).log_prob(x[:, 0].double()), 0, 30)
    found = pv.log_evidence(waiting_model, normal_guide, x, pv.Importance(num_particles=50_000))
    assert ((found.log_px - exact).abs() <= 5 * found.log_px_error).all(), (found.log_px, exact)
    assert (found.elbo == -math.inf).all()  # the guide has mass where the model has none


def test_a_likelihood_that_is_nan_outside_of_the_prior_is_not_asked() -> None:
    x = torch.tensor([[-1.0], [0.5]])
    exact = on_a_grid(
        lambda s: (
            dist.Gamma(3.0, 2.0).log_prob(s)
            + dist.Normal(0.0, s.rsqrt()).log_prob(x[:, 0].double())
        ),
        0,
        40,
    )
    found = pv.log_evidence(precision_model, normal_guide, x, pv.Importance(num_particles=50_000))
    assert ((found.log_px - exact).abs() <= 5 * found.log_px_error).all(), (found.log_px, exact)


def test_uniform_noise_is_a_model_like_any_other() -> None:
    x, normal = torch.tensor([[-1.0], [0.0], [1.5]]), dist.Normal(0.0, 1.0)
    exact = ((normal.cdf(x + 1) - normal.cdf(x - 1)) / 2).log().flatten()
    found = pv.log_evidence(hard_model, scalar_guide, x, pv.Importance(num_particles=20_000))
    assert ((found.log_px - exact).abs() <= 5 * found.log_px_error).all(), (found.log_px, exact)
    # not one particle explains it
    far = pv.log_evidence(hard_model, scalar_guide, x + 100, pv.Importance(num_particles=100))
    lower, upper = far.interval()
    assert (far.log_px == -math.inf).all() and (far.ess == 0).all()
    assert (lower == -math.inf).all() and (upper == math.inf).all() and not far.reliable.any()


def test_data_outside_of_a_fixed_support_are_the_data_s_fault() -> None:
    def counts(x: Tensor, index: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("obs", dist.Poisson(z.exp()), obs=x[:, 0])

    with pytest.raises(ValueError, match="x: the model cannot score it"):
        pv.log_evidence(
            counts, scalar_guide, torch.tensor([[-1.0], [2.0]]), pv.Importance(num_particles=10)
        )


def test_training_a_guide_that_leaves_the_support_is_refused() -> None:
    class Normal(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.loc = torch.nn.Parameter(torch.tensor(1.5))

        def forward(self, x: Tensor, index: Tensor | None = None) -> None:
            pyro.module("a_normal_guide_of_a_positive_latent", self)
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("s", dist.Normal(self.loc, 0.5))

    guide = Normal()
    with pytest.raises(ValueError, match=r"guide: site 's' .* LogNormal"):
        pv.fit(waiting_model, guide, torch.rand(64, 1), epochs=1, quiet=True)
    with pytest.raises(ValueError, match=r"guide: site 's' .* LogNormal"):
        pv.fit_local(waiting_model, guide, torch.rand(8, 1), num_steps=2)


def angle_model(x: Tensor, index: Tensor | None = None) -> None:
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.VonMises(0.0, 1.0))
        pyro.sample("obs", dist.Normal(z, 1.0), obs=x[:, 0])


def test_an_angle_is_not_a_number() -> None:
    x = torch.tensor([[0.0], [4.0]])
    assert list(constrained(angle_model, x)) == ["z"] and not constrained(scalar_model, x)
    with pytest.raises(ValueError, match="VonMises, circular"):
        pv.log_evidence(angle_model, None, x, pv.Annealed(start="prior"))  # type: ignore[call-overload]

    def guide(x: Tensor, index: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.VonMises(0.2 * x[:, 0], 0.5))

    best = pv.log_evidence(angle_model, guide, x, pv.Best())
    turn = torch.linspace(-math.pi, math.pi, 20_001, dtype=torch.double)[1:, None]
    joint = dist.VonMises(0.0, 1.0).log_prob(turn) + dist.Normal(turn, 1.0).log_prob(
        x[:, 0].double()
    )
    exact = torch.logsumexp(joint, 0) + math.log(2 * math.pi / 20_000)
    assert best.method.startswith("importance")
    assert ((best.log_px - exact).abs() <= 5 * best.log_px_error).all(), (best.log_px, exact)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_wide_or_narrow_prior_is_still_a_line(scale: float) -> None:
    def model(x: Tensor, index: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.0, scale))
            pyro.sample("t", dist.StudentT(2.0))

    assert not constrained(model, torch.zeros(4, 1))


def test_a_distribution_that_does_not_say_its_support_is_scored() -> None:
    class Silent(dist.Normal):
        support = torch.distributions.Distribution.support  # which says that it is not known

    def model(x: torch.Tensor, index: torch.Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", Silent(torch.zeros(()), torch.ones(()), validate_args=False))
            pyro.sample("obs", dist.Normal(z[..., None], 1.0).to_event(1), obs=x)

    x = torch.linspace(-1, 1, 4)[:, None]
    exact = dist.Normal(0.0, math.sqrt(2)).log_prob(x[:, 0]).double()
    found = pv.log_evidence(model, prior(model), x, pv.Importance(num_particles=4000))
    assert ((found.log_px - exact).abs() < 5 * found.log_px_error).all()


def test_what_a_mask_hides_is_not_asked_for_its_support() -> None:
    seen = torch.tensor([[True, False], [False, True], [True, True]])

    def model(x: torch.Tensor, index: torch.Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            noise = dist.Uniform(
                z[..., None] - 3.0, z[..., None].expand(*z.shape, 2) + 3.0, validate_args=False
            )
            pyro.sample("obs", noise.mask(seen[: len(x)]).to_event(1), obs=x)

    x = torch.where(seen, 0.5, -99.0)
    found = pv.log_evidence(model, prior(model), x, pv.Importance(num_particles=2000))
    assert found.log_px.isfinite().all() and found.log_px[0] > found.log_px[2]
