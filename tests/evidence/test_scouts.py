"""Modes that a guide misses, and the scouts that look for them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_vae.evidence import Annealed, Best, Importance, log_evidence
from pyro_vae.evidence.scouts import climbed
from pyro_vae.programs.pair import opened
from pyro_vae.programs.traces import prior
from tests.evidence.answers import answer, flat
from tests.evidence.repeats import repeated
from tests.scenarios import Distorted


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
    model, x = repeated(10, 100)
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
        climbs = climbed(pair)
        assert climbs is not None and not climbs.beyond.any()
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
