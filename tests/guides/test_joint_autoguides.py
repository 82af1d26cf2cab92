"""Guides of all data at once, points, and guides that run the model."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceEnum_ELBO, config_enumerate
from pyro.infer.autoguide import (
    AutoDelta,
    AutoDiscreteParallel,
    AutoGuideList,
    AutoLaplaceApproximation,
    AutoMultivariateNormal,
    AutoNormal,
)
from torch import Tensor

from pyro_vae import fit_local, gap_ledger, log_evidence
from pyro_vae.evidence import Importance
from tests.guides.by_place import JOINT, MESSENGERS, make


@pytest.mark.parametrize("make_guide", JOINT, ids=lambda make_guide: make_guide.__name__)
def test_guides_of_all_data_at_once_are_for_one_datum(make_guide: Callable[[Any], Any]) -> None:
    model, x = make(1)
    guide = fit_local(model, make_guide(model), x, num_steps=500).guide
    est = log_evidence(model, guide, x, Importance(num_particles=2000))
    gap = (model.log_px(x) - est.elbo).item()
    assert -5 * est.elbo_error.item() < gap < model.mean_field_gap().item() + 0.03
    # float32's rounding, where the guide is all but exact
    assert (est.log_px - model.log_px(x)).abs().item() < 5 * est.log_px_error.item() + 1e-4
    for num_data in (2, 9, 40):
        model, x = make(num_data)
        guide = make_guide(model)
        words = (
            rf"is one draw for all {num_data} data.*use AutoNormal,"
            r" or Local.of\(model, x, FullRank\)"
        )
        for run in (partial(fit_local, num_steps=5), log_evidence):
            with pytest.raises(ValueError, match=words):
                run(model, guide, x)


@pytest.mark.parametrize("num_data", [1, 9])
def test_a_point_has_no_density(num_data: int) -> None:
    model, x = make(num_data)
    both = AutoGuideList(model)
    both.append(AutoDelta(model))
    for guide in (AutoDelta(model), AutoLaplaceApproximation(model), both):
        pyro.clear_param_store()
        with pytest.raises(
            ValueError, match="are Delta, a point has no density to weigh: use a distribution"
        ):
            fit_local(model, guide, x, num_steps=5)
        with pytest.raises(ValueError, match="are Delta, a point has no density"):
            log_evidence(model, guide, x, Importance(num_particles=5))


def two_sites(x: Tensor, index: Tensor | None = None) -> None:
    with pyro.plate("data", len(x), dim=-1):
        one = pyro.sample("one", dist.Normal(0.0, 1.0))
        two = pyro.sample("two", dist.Normal(0.0, 1.0))
        pyro.sample("obs", dist.Normal(torch.stack([one, two], -1), 1.0).to_event(1), obs=x)


def test_a_point_beside_a_distribution_has_none_either() -> None:
    pyro.clear_param_store()
    guide = AutoGuideList(two_sites)
    guide.append(AutoDelta(pyro.poutine.block(two_sites, expose=["one"])))
    guide.append(AutoNormal(pyro.poutine.block(two_sites, expose=["two"])))
    with pytest.raises(ValueError, match=r"the sites \['one'\] are Delta"):
        log_evidence(two_sites, guide, torch.zeros(9, 2), Importance(num_particles=5))


def test_the_laplace_approximation_of_one_datum_is_a_guide() -> None:
    model, x = make(1)
    modes = AutoLaplaceApproximation(model)
    svi = pyro.infer.SVI(model, modes, pyro.optim.Adam({"lr": 0.05}), pyro.infer.Trace_ELBO())
    for _ in range(500):
        svi.step(x)
    est = log_evidence(model, modes.laplace_approximation(x), x, Importance(num_particles=500))
    assert (est.log_px - model.log_px(x)).abs().item() < 0.01  # exact for a Gaussian


@pytest.mark.parametrize("make_guide", MESSENGERS, ids=lambda make_guide: make_guide.__name__)
def test_guides_that_run_the_model_are_refused(make_guide: Callable[[Any], Any]) -> None:
    model, x = make(9)
    with pytest.raises(
        ValueError, match=r"observed sites \['obs'\].*AutoMessengers run the model: use AutoNormal"
    ):
        log_evidence(model, make_guide(model), x, Importance(num_particles=5))


def test_auto_discrete_parallel_finds_the_assignment_of_each_datum() -> None:
    pyro.clear_param_store()
    centres = torch.tensor([-2.0, 2.0])

    @config_enumerate
    def model(x: Tensor, index: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            one = pyro.sample("one", dist.Categorical(torch.tensor([0.3, 0.7])))
            pyro.sample("obs", dist.Normal(centres[one], 1.5), obs=x)

    torch.manual_seed(0)
    x = torch.randn(9) * 2
    loss = TraceEnum_ELBO(max_plate_nesting=1)
    guide = fit_local(model, AutoDiscreteParallel(model), x, num_steps=500, loss=loss).guide
    each = dist.Normal(centres, 1.5).log_prob(x[:, None]) + torch.tensor([0.3, 0.7]).log()
    est = log_evidence(model, guide, x, Importance(num_particles=2000))
    assert (est.log_px - each.logsumexp(-1)).abs().max() < 0.05

    pyro.clear_param_store()
    other, x = make(9)
    with pytest.raises(ValueError, match=r"guide: running it on x .* failed: .*to be discrete"):
        fit_local(other, AutoDiscreteParallel(other), x)


def test_a_joint_guide_of_one_datum_is_below_log_px() -> None:
    model, x = make(1)
    guide = fit_local(model, AutoMultivariateNormal(model), x, num_steps=2000).guide
    est = log_evidence(model, guide, x, Importance(num_particles=5000))
    # its noise has died with the rate of its steps: what is left of the gap is what they miss
    assert (est.elbo - model.log_px(x)).abs().item() < 5e-3
    assert (est.log_px - model.log_px(x)).abs().item() < 5 * est.log_px_error.item()
    ledger = gap_ledger(model, {"auto": guide}, x, method=Importance(num_particles=200))
    assert abs(ledger.entries["auto"].inference.mean) < 0.01
    assert math.isfinite(ledger.entries["auto"].seconds)
