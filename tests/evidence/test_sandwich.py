"""Chains in both directions on simulated data, and along the rate-distortion curve."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_vae import VAE, Local, MeanField
from pyro_vae.evidence import (
    Annealed,
    Quadrature,
    likeness,
    log_evidence,
    rate_distortion_curve,
    sandwich,
    squared_error,
)
from pyro_vae.evidence.estimate import standard_error
from tests.evidence.mean_guide import Mean
from tests.scenarios import linear_gaussian


def test_forward_is_below_and_reverse_above() -> None:
    model, _ = linear_gaussian(dim=8)
    found = sandwich(
        model,
        None,
        torch.zeros(1, 11).double(),
        num_data=100,
        method=Annealed(num_temperatures=10, num_chains=4),
    )
    exact = model.log_px(found.x)
    for difference in (exact - found.forward.log_px, found.reverse.log_px - exact):
        # ten temperatures are far too few
        assert difference.mean() > 5 * standard_error(difference) > 0
    assert (
        found.gap == pytest.approx(found.gaps.mean().item())
        and found.reverse.upper
        and not found.forward.upper
    )
    more = sandwich(
        model,
        None,
        torch.zeros(1, 11).double(),
        num_data=100,
        method=Annealed(num_temperatures=50, num_chains=4),
    )
    assert abs(more.gap) < found.gap / 3


def test_a_reverse_run_has_an_upper_end_only_and_it_holds() -> None:
    model, _ = linear_gaussian(dim=4)
    found = sandwich(
        model, None, torch.zeros(1, 7).double(), num_data=100, method=Annealed(num_temperatures=30)
    )
    lower, upper = found.reverse.interval(0.9)
    assert torch.isinf(lower).all() and (model.log_px(found.x) <= upper).double().mean() > 0.9
    torch.testing.assert_close(
        upper - found.reverse.log_px, torch.full((100,), math.log(10)).double()
    )
    assert found.reverse.mean_interval(0.9)[1] == pytest.approx(found.reverse.mean + math.log(10))


def test_real_data_are_set_beside_the_simulated() -> None:
    model, x = linear_gaussian(60, 2)
    found = sandwich(model, None, x, num_data=60, method=Annealed(num_temperatures=10))
    own = log_evidence(model, None, x, Annealed(start="prior", num_temperatures=10))
    alike = likeness(model, Mean(model), x, found, own)
    assert alike.alike and alike.verdict.startswith("alike: real")
    assert alike.distances.keys() == {"elbo", "rate", "acceptance"}
    other = likeness(model, Mean(model), 5 * x, found)
    assert not other.alike and other.distances["elbo"] < -0.5


def test_the_rate_distortion_curve_in_closed_form() -> None:
    model, x = linear_gaussian(10, 2)
    curve = rate_distortion_curve(
        model, x, num_points=5, method=Annealed(start="prior", num_temperatures=80, num_chains=32)
    )
    assert curve.beta[-1] == 1 and curve.rate.shape == (5, 10)
    noise = 0.49
    for beta, rate, distortion in zip(curve.beta, curve.rate, curve.distortion, strict=True):
        precision = torch.eye(2).double() + beta * model.loading.T @ model.loading / noise
        mean = torch.linalg.solve(
            precision, beta * (x - model.mean) @ model.loading / noise, left=False
        )
        q = dist.MultivariateNormal(mean, precision_matrix=precision)
        truth = torch.distributions.kl_divergence(
            q, dist.MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
        )
        squared = ((x - model.mean - mean @ model.loading.T) ** 2).sum(1) + torch.trace(
            model.loading @ q.covariance_matrix[0] @ model.loading.T
        )
        cost = squared / (2 * noise) + 2.5 * torch.log(torch.tensor(2 * torch.pi * noise))
        assert abs((rate - truth).mean()) < 0.1 + 0.05 * truth.mean(), (beta, rate, truth)
        assert abs((distortion - cost).mean()) < 0.1 + 0.05 * cost.mean(), (beta, distortion, cost)
    method = Annealed(80, "prior", num_chains=32)
    log_px = log_evidence(model, None, x, method).log_px
    torch.testing.assert_close((curve.rate + curve.distortion)[-1], -log_px)


@pytest.mark.parametrize("distortion", [None, squared_error])
def test_the_curve_goes_on_beyond_one_and_for_another_distortion(distortion: Any) -> None:
    model, x = linear_gaussian(20, 2)
    method = Annealed(100, "prior", num_chains=16, engine="pyro")
    curve = rate_distortion_curve(
        model, x, distortion=distortion, max_beta=50, num_points=6, method=method
    )
    assert curve.beta[-1] == 50 and (curve.beta.diff() > 0).all()
    assert curve.unit == ("nats" if distortion is None else "squared error")

    variance, constant = (
        (0.49, 2.5 * math.log(2 * math.pi * 0.49)) if distortion is None else (0.5, 0)
    )
    weight = model.loading.T / variance
    for beta, rate, found in zip(curve.beta, curve.rate, curve.distortion, strict=True):
        precision = torch.eye(2).double() + beta * weight @ model.loading
        mean = torch.linalg.solve(precision, beta * (x - model.mean) @ weight.T, left=False)
        q = dist.MultivariateNormal(mean, precision_matrix=precision)
        prior = dist.MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
        spread = torch.trace(weight @ model.loading @ precision.inverse()) / 2
        missed = (x - model.mean - mean @ model.loading.T).square().sum(1)
        truth = missed / (2 * variance) + spread + constant

        # the sum is second order in the noise of where the chains are
        exact = torch.distributions.kl_divergence(q, prior) + beta * truth
        excess = rate + beta * found - exact
        assert abs(excess.mean()) < 5 * standard_error(excess) + 0.01, (beta, excess.mean())
        off = found - truth
        assert abs(off.mean()) < 5 * standard_error(off), (beta, off.mean())


def test_a_distortion_needs_no_likelihood_of_the_data() -> None:
    torch.manual_seed(0)
    model, x = VAE((4,), 2, (3,)), (torch.rand(6, 4) > 0.5).float()
    method = Annealed(20, "prior", num_chains=4, engine="pyro")
    ours = rate_distortion_curve(model, x, distortion=squared_error, num_points=3, method=method)
    handed = rate_distortion_curve(
        model,
        x,
        distortion=lambda x, mean: ((x - mean) ** 2).sum(-1),
        num_points=3,
        method=method,
    )
    torch.testing.assert_close(ours.distortion, handed.distortion)
    assert (ours.distortion <= 4).all() and ours.beta[-1] == 1

    def several(x: torch.Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            for name, values in (("one", x[:, 0]), ("two", x[:, 1])):
                pyro.sample(name, dist.Normal(z, 1.0), obs=values)

    with pytest.raises(ValueError, match=r"model: got observed sites \['one', 'two'\]"):
        rate_distortion_curve(several, x, distortion=squared_error, num_points=3, method=method)


def test_simulated_data_come_with_rows_in_every_run() -> None:
    offsets = torch.tensor([-3.0, 0.0, 3.0, 50.0])
    seen = []

    def model(x: torch.Tensor, index: torch.Tensor) -> None:
        seen.append(index.max().item())
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0).expand([1]).to_event(1))
            pyro.sample("obs", dist.Normal(z + offsets[index][:, None], 1.0).to_event(1), obs=x)

    method = Annealed(10, num_chains=4, engine="pyro")
    found = sandwich(model, None, torch.zeros(3, 1), num_data=7, method=method)  # type: ignore[arg-type]
    assert found.index.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert max(seen) == 2
    exact = dist.Normal(offsets[found.index], 2**0.5).log_prob(found.x[:, 0])
    assert (found.forward.log_px - exact).abs().max() < 3

    other = sandwich(
        model, None, torch.zeros(2, 1), torch.tensor([3, 0]), num_data=4, method=method
    )  # type: ignore[arg-type]
    assert other.index.tolist() == [3, 0, 3, 0]
    assert (other.x[[0, 2]] > 30).all() and (other.x[[1, 3]] < 10).all()
    with pytest.raises(
        ValueError, match=r"index: got torch.int64 \(3,\), expected integers of shape \(2,\)"
    ):
        sandwich(model, None, torch.zeros(2, 1), torch.arange(3), num_data=4, method=method)  # type: ignore[arg-type]


def test_a_table_cannot_answer_for_simulated_data() -> None:
    model, x = linear_gaussian(3, 2)
    with pytest.raises(ValueError, match="answers for any x"):
        sandwich(model, Local(MeanField(2), 3).double(), x)
    assert (log_evidence(model, None, x, Quadrature()).log_px - model.log_px(x)).abs().max() < 1e-10
