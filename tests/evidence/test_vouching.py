"""When an interval may be closed: weights, modes that a guide misses, spikes that a grid does."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_vae import LinearGaussian
from pyro_vae.evidence import (
    Annealed,
    Best,
    Importance,
    Quadrature,
    log_evidence,
)
from pyro_vae.evidence.scouts import unreached
from pyro_vae.evidence.tails import FEWEST
from pyro_vae.programs.pair import opened
from pyro_vae.programs.traces import prior


class Distorted:
    """The exact posterior of a linear-Gaussian model, its deviations times `width`, shifted by
    `shift` of them.
    """

    def __init__(self, model: LinearGaussian, width: float = 1.0, shift: float = 0.0) -> None:
        self.posterior, self.width, self.shift = model.posterior, width, shift

    def __call__(self, x: Tensor, index: Tensor | None = None) -> None:
        q = self.posterior(x)
        with pyro.plate("data", len(x), dim=-1):
            moved = dist.MultivariateNormal(
                q.mean + self.shift * q.stddev, scale_tril=self.width * q.scale_tril
            )
            pyro.sample("latent", moved)


def linear_gaussian(dim: int, repetitions: int) -> tuple[LinearGaussian, Tensor]:
    """A model, and one datum many times."""
    torch.manual_seed(0)
    model = LinearGaussian(dim + 5, dim, sigma=0.7).double().requires_grad_(False)
    return model, (model.sample(1) + 0.7 * torch.randn(1, dim + 5).double()).repeat(repetitions, 1)


@pytest.mark.parametrize(
    ("width", "shift", "least", "most"),
    [(0.7, 0.0, 0.0, 0.4), (0.8, 0.0, 0.1, 0.8), (1.0, 0.5, 0.2, 1.0), (1.3, 0.0, 0.99, 1.0)],
)
def test_closed_intervals_hold_the_truth(
    width: float, shift: float, least: float, most: float
) -> None:
    model, x = linear_gaussian(4, 400)
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
    model, x = linear_gaussian(3, 50)
    for dtype in (torch.float, torch.double):
        found = log_evidence(
            model.to(dtype), Distorted(model), x.to(dtype), Importance(num_particles=5000)
        )
        lower, upper = found.interval()
        exact = LinearGaussian(8, 3, sigma=0.7).double().log_px(x.to(dtype).double())
        assert ((lower <= exact) & (exact <= upper)).all()
        assert (upper - lower).max() < (1e-3 if dtype == torch.float else 1e-8)


def test_too_few_particles_close_no_interval() -> None:
    model, x = linear_gaussian(2, 5)
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
    model, x = linear_gaussian(4, 5)
    few = log_evidence(model, Distorted(model, 1.2), x, Importance(num_particles=150))
    assert few.log_px_error.max() < 0.5 and not few.reliable.any()
    found = log_evidence(
        model, Distorted(model, 1.2), x, Importance(num_particles=150, target_error=0.5)
    )
    assert found.reliable.all() and found.evaluations > 150


# Modes.


def folded(x: Tensor, index: Tensor | None = None) -> None:
    """x_1 = |z_1| + noise, the other values straight: two modes, mirror images of each other."""
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("latent", dist.Normal(torch.zeros_like(x[0]), 3.0).to_event(1))
        pyro.sample(
            "obs",
            dist.Normal(torch.cat([z[..., :1].abs(), z[..., 1:]], -1), 0.3).to_event(1),
            obs=x,
        )


def one_mode(x: Tensor, index: Tensor | None = None) -> None:
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("latent", dist.Normal(x, 0.3).to_event(1))


def both_modes(x: Tensor, index: Tensor | None = None) -> None:
    mirror = torch.cat([-x[:, :1], x[:, 1:]], -1)
    with pyro.plate("data", len(x), dim=-1):
        mixture = dist.MixtureSameFamily(
            dist.Categorical(torch.ones(len(x), 2)),
            dist.Normal(torch.stack([x, mirror], 1), 0.3).to_event(1),
        )
        pyro.sample("latent", mixture)


@pytest.mark.parametrize("dim", [2, 10])
def test_a_missed_mode_is_found_and_opens_every_interval(dim: int) -> None:
    x = 2.0 + 0.3 * torch.randn(30, dim)
    found = log_evidence(folded, one_mode, x, Importance(num_particles=1000))
    assert found.pareto_k.max() < 0.5 and found.ess.min() > 500  # nothing in the weights says so
    assert found.blind.all() and not found.reliable.any() and found.interval()[1].isposinf().all()
    assert found.summary()["share_blind"] == 1.0
    chains = log_evidence(folded, one_mode, x[:5], Annealed(num_temperatures=20))
    assert (
        chains.blind.all()
        and chains.interval()[1].isposinf().all()
        and math.isinf(chains.mean_interval()[1])
    )
    assert not log_evidence(
        folded, None, x[:5], Annealed(start="prior", num_temperatures=20)
    ).blind.any()  # from the prior


def test_a_guide_that_has_both_modes_is_left_in_peace() -> None:
    x = 2.0 + 0.3 * torch.randn(30, 2)
    assert not log_evidence(folded, both_modes, x, Importance(num_particles=1000)).blind.any()


@pytest.mark.parametrize(("width", "shift"), [(0.6, 0.0), (1.0, 0.0), (1.5, 0.0), (1.0, 0.5)])
def test_a_guide_of_one_mode_is_left_in_peace(width: float, shift: float) -> None:
    model, x = linear_gaussian(10, 100)
    assert not log_evidence(
        model, Distorted(model, width, shift), x, Importance(num_particles=200)
    ).blind.any()


def test_scouts_look_only_where_they_can_and_are_seeded() -> None:
    x = 2.0 + 0.3 * torch.randn(6, 2)
    alone = Importance(num_particles=1000, num_scouts=0)
    assert not log_evidence(folded, one_mode, x, alone).blind.any()

    def spread(x: Tensor, index: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
            pyro.sample(
                "obs",
                dist.Normal(0.0, scale[..., None]).expand([*scale.shape, 2]).to_event(1),
                obs=x,
            )

    with opened(spread, answer(scale=dist.LogNormal(0.0, 1.0)), x) as pair:
        assert not unreached(pair).any()
    state = torch.get_rng_state()
    first, again = (
        log_evidence(folded, one_mode, x, Importance(num_particles=200)).blind for _ in range(2)
    )
    assert torch.equal(first, again) and torch.equal(state, torch.get_rng_state())


def positive(x: Tensor, index: Tensor | None = None) -> None:
    """The two modes of |log z|, of a positive latent."""
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.LogNormal(0.0, 1.0))
        pyro.sample("obs", dist.Normal(z.log().abs()[..., None], 0.2).to_event(1), obs=x)


def beside(x: Tensor, index: Tensor | None = None) -> None:
    """The two modes of |z|, beside a positive latent of no consequence."""
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("scale", dist.LogNormal(0.0, 0.01))
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("obs", dist.Normal(z.abs()[..., None], 0.2).to_event(1), obs=x)


def flat(prior: Any) -> Callable[..., None]:
    def model(x: Tensor, index: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", prior)
            pyro.sample("obs", dist.Normal(0 * z[..., None], 1.0).to_event(1), obs=x)

    return model


def answer(**sites: Any) -> Callable[..., None]:
    def guide(x: Tensor, index: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            for name, fn in sites.items():
                pyro.sample(name, fn)

    return guide


@pytest.mark.parametrize(
    ("model", "guide"),
    [
        (positive, answer(z=dist.LogNormal(1.0, 0.2))),
        (beside, answer(scale=dist.LogNormal(0.0, 0.01), z=dist.Normal(1.0, 0.2))),
        (flat(dist.Uniform(0.0, 1.0)), answer(z=dist.Uniform(0.0, 0.5))),
        (flat(dist.Normal(0.0, 1.0)), answer(z=dist.Uniform(-1.0, 1.0))),
    ],
    ids=[
        "a positive latent",
        "beside a positive latent",
        "half of the prior's support",
        "a part of the line",
    ],
)
def test_the_prior_s_own_draws_object_where_no_scout_can(model: Any, guide: Any) -> None:
    x = torch.ones(10, 1)
    found = log_evidence(model, guide, x, Importance(num_particles=1000))
    assert found.blind.all() and found.interval()[1].isposinf().all()
    assert (
        "can be believed"
        not in log_evidence(model, guide, x[:2], Best(num_temperatures=10)).verdict
    )
    assert not log_evidence(model, prior(model), x, Importance(num_particles=1000)).blind.any()


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


def test_programs_that_no_scout_can_climb_are_scored_all_the_same() -> None:
    flow = pyro.distributions.transforms.affine_coupling(2, [4])

    def by_numpy(x: Tensor, index: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            mean = torch.as_tensor(np.tanh(z.numpy()))
            pyro.sample("obs", dist.Normal(mean, 1.0).to_event(1), obs=x)

    def by_flow(x: Tensor, index: Tensor | None = None) -> None:
        pyro.module("flow", flow)
        with pyro.plate("data", len(x), dim=-1):
            base = dist.Normal(torch.zeros(2), 1.0).to_event(1)
            z = pyro.sample("z", dist.TransformedDistribution(base, [flow]))
            pyro.sample("obs", dist.Normal(z, 1.0).to_event(1), obs=x)

    x = torch.randn(4, 2)
    guide = answer(z=dist.Normal(torch.zeros(2), 1.0).to_event(1))
    for model in (by_numpy, by_flow):
        assert log_evidence(model, guide, x, Importance(num_particles=1000)).reliable.any()
    assert (
        log_evidence(by_flow, None, x, Annealed(start="prior", num_temperatures=10))
        .log_px.isfinite()
        .all()
    )


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
