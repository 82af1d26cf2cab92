"""When an interval may be closed: by the weights, and by what they are not of."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_vae import LinearGaussian
from pyro_vae.evidence import Annealed, Best, Importance, Quadrature, log_evidence
from pyro_vae.evidence.tails import FEWEST
from pyro_vae.programs.traces import prior
from tests.evidence.answers import answer, flat
from tests.evidence.repeats import repeated
from tests.scenarios import Distorted


@pytest.mark.parametrize(
    ("width", "shift", "least", "most"),
    [(0.7, 0.0, 0.0, 0.4), (0.8, 0.0, 0.1, 0.8), (1.0, 0.5, 0.2, 1.0), (1.3, 0.0, 0.99, 1.0)],
)
def test_closed_intervals_hold_the_truth(
    width: float, shift: float, least: float, most: float
) -> None:
    model, x = repeated(4, 400)
    found = log_evidence(
        model, Distorted(model, width, shift), x, Importance(num_particles=1000, num_scouts=1)
    )
    lower, upper = found.interval()
    exact, closed = model.log_px(x), upper.isfinite()
    assert least <= closed.double().mean() <= most
    wrong = (~((lower <= exact) & (exact <= upper)))[closed].double().sum()
    assert wrong <= 0.05 * closed.sum() + 2 * math.sqrt(0.05 * closed.sum())
    assert torch.equal(closed, found.reliable)


def test_an_exact_guide_has_an_interval_of_rounding_and_it_holds() -> None:
    model, x = repeated(3, 50)
    for dtype in (torch.float, torch.double):
        found = log_evidence(
            model.to(dtype), Distorted(model), x.to(dtype), Importance(num_particles=5000)
        )
        lower, upper = found.interval()
        exact = LinearGaussian(8, 3, sigma=0.7).double().log_px(x.to(dtype).double())
        assert ((lower <= exact) & (exact <= upper)).all()
        assert (upper - lower).max() < (1e-3 if dtype == torch.float else 1e-8)


def test_too_few_particles_close_no_interval() -> None:
    model, x = repeated(2, 5)
    assert (
        log_evidence(model, Distorted(model, 1.2), x, Importance(num_particles=2 * FEWEST - 1))
        .interval()[1]
        .isposinf()
        .all()
    )
    assert (
        log_evidence(model, Distorted(model, 1.2), x, Importance(num_particles=1000))
        .interval()[1]
        .isfinite()
        .all()
    )


def test_a_target_is_not_met_by_an_error_that_nothing_vouches_for() -> None:
    model, x = repeated(4, 5)
    few = log_evidence(model, Distorted(model, 1.2), x, Importance(num_particles=150))
    assert few.log_px_error.max() < 0.5 and not few.reliable.any()
    found = log_evidence(
        model, Distorted(model, 1.2), x, Importance(num_particles=150, target_error=0.5)
    )
    assert found.reliable.all() and found.evaluations > 150


def test_chains_from_a_part_of_the_line_vouch_for_nothing() -> None:
    found = log_evidence(
        flat(dist.Normal(0.0, 1.0)),
        answer(z=dist.Uniform(-1.0, 1.0)),
        torch.ones(5, 1),
        Annealed(num_temperatures=20),
    )
    assert found.log_px.mean() < -1.7 and found.log_px_error.max() < 0.05  # exact: -1.419
    assert found.blind.all() and found.interval()[1].isposinf().all()


def test_intervals_of_weights_that_are_partly_zero_are_numbers() -> None:
    def model(x: Tensor, index: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Exponential(1.0))
            pyro.sample("obs", dist.Normal(z[..., None], 1.0).to_event(1), obs=x)

    x = torch.linspace(0.2, 2, 20)[:, None]
    grid = torch.linspace(0, 40, 400_001).double()
    exact = torch.stack(
        [(dist.Normal(grid, 1.0).log_prob(row) - grid).logsumexp(0) for row in x]
    ) + math.log(1e-4)
    found = log_evidence(model, answer(z=dist.Normal(0.5, 1.2)), x, Importance(num_particles=5000))
    lower, upper = found.interval()
    assert ((lower <= exact) & (exact <= upper)).double().mean() >= 0.85 and lower.isfinite().all()
    assert found.reliable.any() and not any(math.isnan(end) for end in found.mean_interval())


def test_weights_on_atoms_vouch_for_nothing() -> None:
    def model(x: Tensor, index: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            c = pyro.sample("c", dist.Categorical(torch.tensor([0.5, 0.5])))
            pyro.sample("obs", dist.Normal(torch.tensor([0.0, 4.0])[c], 1.0), obs=x)

    def guide(x: Tensor, index: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("c", dist.Categorical(torch.tensor([1e-7, 1.0])))

    x = torch.tensor([0.0, 4.0])
    exact = torch.logsumexp(
        dist.Normal(torch.tensor([0.0, 4.0]), 1.0).log_prob(x[:, None]), -1
    ) - math.log(2)
    found = log_evidence(model, guide, x, Importance(num_particles=1000))
    # equal weights, and wrong
    assert found.log_px[0] < exact[0] - 5 and found.log_px_error[0] < 1e-6
    assert not found.reliable.any() and found.interval()[1].isposinf().all()
    best = log_evidence(model, guide, x, Best(num_particles=1000))
    assert "can be believed" not in best.verdict and "lower bound" in best.verdict


@pytest.mark.parametrize("width", [0.01, 1e-3])
def test_a_spike_between_grid_points_is_no_small_error(width: float) -> None:
    # half of the readings are exact, half are noise
    def model(x: Tensor, index: Any = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            parts = dist.Normal(
                torch.stack([z, torch.zeros_like(z)], -1), torch.tensor([width, 1.0])
            )
            pyro.sample(
                "obs", dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), parts), obs=x
            )

    x = torch.tensor([-1.3, -0.44, 0.07, 0.52, 1.9])
    by_parts = [
        dist.Normal(0.0, math.hypot(1, width)).log_prob(x),
        dist.Normal(0.0, 1.0).log_prob(x),
    ]
    exact = torch.logsumexp(torch.stack(by_parts), 0).double() - math.log(2)
    found = log_evidence(model, None, x, Quadrature())
    lower, upper = found.interval()
    assert ((lower <= exact) & (exact <= upper)).all()
    best = log_evidence(model, prior(model), x, Best(num_particles=1000, num_temperatures=10))
    lower, upper = best.interval()
    assert ((lower <= exact) & (exact <= upper)).all()
    assert width > 1e-3 or (~found.reliable | ((found.log_px - exact).abs() < 0.05)).all()
