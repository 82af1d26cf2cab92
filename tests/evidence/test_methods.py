"""Every method, and the choice between them, against what is known exactly."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vae import MLP, Amortized, ExactGuide, LinearGaussian, MeanField, SemiAmortized
from pyro_vae.evidence import Annealed, Best, BestEstimate, Exact, Importance, Method, log_evidence
from pyro_vae.evidence.estimate import Estimate
from pyro_vae.evidence.weights import log_mean_exp, pareto_k, pareto_smoothed
from pyro_vae.report.intervals import interval_text
from tests.scenarios import Distorted, linear_gaussian


class Hidden(nn.Module):
    """A linear-Gaussian model that does not know its log p(x)."""

    def __init__(self, model: LinearGaussian) -> None:
        super().__init__()
        self.inner = model

    def forward(self, x: torch.Tensor, index: Any = None) -> Any:
        return self.inner(x, index)


def test_a_closed_form_must_be_one_value_per_datum() -> None:
    model, x = linear_gaussian()
    model.log_px = lambda x: torch.zeros(())  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"`log_px` gave shape \(\), expected a value per datum"):
        log_evidence(model, ExactGuide(model), x, Exact())


def test_best_takes_the_closed_form_then_quadrature_then_weights_then_chains() -> None:
    model, x = linear_gaussian(6, 2)
    assert log_evidence(model, ExactGuide(model), x, Best()).method == "exact"
    hidden = Hidden(model)
    flat = log_evidence(hidden, ExactGuide(model), x, Best())
    assert flat.method.startswith("quadrature") and "2 latents" in flat.verdict
    model, x = linear_gaussian(6, 3)
    good = log_evidence(Hidden(model), ExactGuide(model), x, Best(num_particles=500))
    assert good.method == "importance(S=500)" and "can be believed" in good.verdict


def test_best_climbs_a_ladder_for_data_that_the_weights_do_not_vouch_for() -> None:
    model, x = linear_gaussian(6, 3)
    guide, exact = Distorted(model, 0.4, 1.5), model.log_px(x)
    found = log_evidence(Hidden(model), guide, x, Best(num_particles=1000))
    assert isinstance(found, BestEstimate) and found.reliable.all()
    assert [step.method for step in found.steps] == ["importance(S=1000)", "refined(S=1000)"]
    assert found.method == "refined(S=1000)" and found.chosen is not None
    assert ((found.log_px - exact).abs() < 5 * found.log_px_error).all()

    low = found.mean - log_evidence(Hidden(model), guide, x, Importance(1000)).mean
    assert f"importance(S=1000) from the guide is {low:.2f} +-" in found.verdict
    assert found.verdict.endswith("vouched for on 100.0% of the data")
    assert [step["num_vouched"] for step in found.summary()["steps"]] == [0, 6]


def test_best_says_so_where_chains_cannot_run() -> None:
    def model(x: torch.Tensor, index: Any = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("latent", dist.Poisson(2.0).expand([3]).to_event(1))
            pyro.sample("obs", dist.Normal(z, 0.01).to_event(1), obs=x)

    def guide(x: torch.Tensor, index: Any = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("latent", dist.Poisson(2.0).expand([3]).to_event(1))

    found = log_evidence(model, guide, torch.ones(3, 3), Best(num_particles=500))
    assert "no bijection makes real numbers of" in found.verdict
    assert math.isinf(found.mean_interval()[1])


def test_a_defensive_share_of_the_prior_bounds_the_weights() -> None:
    model, x = linear_gaussian(30, 2)
    lost = Distorted(model, 0.3, 3.0)
    alone = log_evidence(model, lost, x, Importance(num_particles=4000))
    mixed = log_evidence(model, lost, x, Importance(num_particles=4000, defensive=0.25))
    exact = model.log_px(x)
    assert (exact - alone.log_px).mean() > 1 > (exact - mixed.log_px).abs().max()
    assert ((mixed.log_px - exact).abs() < 5 * mixed.log_px_error).all()
    assert mixed.pareto_k.median() < 0.5 < alone.pareto_k.median()
    right = log_evidence(
        model, ExactGuide(model), x, Importance(num_particles=4000, defensive=0.25)
    )
    assert (
        (right.log_px - exact).abs() < 5 * right.log_px_error
    ).all() and right.log_px_error.max() < 0.02
    few = log_evidence(model, lost, x, Importance(num_particles=4, defensive=0.1))
    assert not torch.equal(
        few.log_px, log_evidence(model, lost, x, Importance(num_particles=4)).log_px
    )
    semi = SemiAmortized(Amortized(MeanField(2), MLP(5, ())).double(), model, num_steps=2)
    with pytest.raises(ValueError, match="differs from run to run"):
        log_evidence(model, semi, x, Importance(num_particles=10, defensive=0.5))
    with pytest.raises(ValueError, match=r"defensive: got 1\.0"):
        log_evidence(model, lost, x, Importance(defensive=1.0))


def test_more_particles_where_they_are_needed() -> None:
    model, x = linear_gaussian(10, 2)
    guide = Distorted(model, 1.5)
    found = log_evidence(model, guide, x, Importance(num_particles=100, target_error=0.02))
    assert found.log_px_error.max() <= 0.02 and found.evaluations > 100
    assert found.method == "importance(S=100 or more)"
    assert ((found.log_px - model.log_px(x)).abs() < 5 * found.log_px_error).all()
    stopped = log_evidence(
        model, guide, x, Importance(num_particles=100, target_error=1e-9, budget=0.5)
    )
    assert stopped.seconds < 5 and stopped.log_px_error.max() > 1e-9
    # whose error is unknown at first
    one = log_evidence(model, guide, x, Importance(num_particles=1, target_error=0.1))
    assert one.log_px_error.max() <= 0.1
    with pytest.raises(ValueError, match=r"target_error: got 0\.0"):
        log_evidence(model, guide, x, Importance(target_error=0.0))


def test_smoothed_weights_have_less_noise_and_the_same_mean() -> None:
    torch.manual_seed(0)
    log_w = 1.2 * torch.randn(1000, 400).double()  # log-normal: mean exp(0.72)
    khat, smoothed = pareto_smoothed(log_w)
    assert torch.equal(khat, pareto_k(log_w))
    raw = log_mean_exp(log_w)
    assert (smoothed - raw).abs().max() > 1e-3 and (smoothed - raw).abs().median() < 0.05
    assert smoothed.var() < raw.var()
    assert abs(smoothed.mean() - 0.72) < 0.05
    shifted = pareto_smoothed(log_w + 300.0)[1]
    torch.testing.assert_close(shifted, smoothed + 300, atol=1e-9, rtol=0)
    zeros = torch.full((1000, 1), -math.inf).double()
    zeros[:60] = torch.randn(60, 1).double()
    torch.testing.assert_close(pareto_smoothed(zeros)[1], log_mean_exp(zeros))
    few = torch.randn(10, 3).double()
    assert torch.equal(pareto_smoothed(few)[1], log_mean_exp(few))


def estimate(log_px: list[float], error: list[float], reliable: list[bool]) -> Estimate:
    class Made(Estimate):
        method = "made"  # type: ignore[assignment]

        @property
        def reliable(self) -> torch.Tensor:
            return torch.tensor(reliable)

    return Made(torch.tensor(log_px).double(), torch.tensor(error).double(), 1.0, 0.0, 0)


def test_intervals_are_open_where_the_error_is_not_believed() -> None:
    made = estimate([-10.0, -20.0], [0.1, 0.2], [True, False])
    lower, upper = made.interval(0.95)
    torch.testing.assert_close(
        lower, torch.tensor([-9.995 - 0.196, -20.0 - 0.392]).double(), atol=1e-3, rtol=0
    )
    assert upper[0] == pytest.approx(-9.995 + 0.196, abs=1e-3) and math.isinf(upper[1])
    assert math.isinf(made.mean_interval()[1]) and "at least" in interval_text(made)
    assert "vouched for on 50.0%" in made.verdict
    sure = estimate([-10.0, -20.0], [0.1, 0.2], [True, True])
    low, high = sure.mean_interval(0.95)
    assert high - low == pytest.approx(2 * 1.96 * math.hypot(0.1, 0.2) / 2, abs=1e-3)
    assert "on all data" in sure.verdict and " to " in interval_text(sure)
    with pytest.raises(ValueError, match="level: got 1"):
        sure.interval(1.0)


@pytest.mark.parametrize("method", [Importance(400), Annealed(60)], ids=["weights", "chains"])
def test_intervals_cover(method: Method[Estimate]) -> None:
    """100 data at once, each an independent run; 500 seeds are in experiments/evidence.py."""
    model, x = linear_gaussian(1, 2)
    x = x.expand(100, -1).contiguous()
    found = log_evidence(model, Distorted(model, 1.3), x, method)
    lower, upper = found.interval(0.95)
    exact = model.log_px(x)
    assert found.reliable.all() and ((lower <= exact) & (exact <= upper)).double().mean() >= 0.85
    assert ((upper - lower) < 8 * found.log_px_error).all()


def test_unknown_methods_and_options() -> None:
    model, x = linear_gaussian()
    with pytest.raises(ValueError, match="method: got 'magic', expected a method such as"):
        log_evidence(model, ExactGuide(model), x, "magic")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="start: got 'end'"):
        log_evidence(model, ExactGuide(model), x, Annealed(start="end"))
    with pytest.raises(ValueError, match="no method `log_px`"):
        log_evidence(Hidden(model), ExactGuide(model), x, Exact())
