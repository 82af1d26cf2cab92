"""An evaluation by several processes gives each datum the figures that one process gives it."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyro_vae as pv
from pyro_vae.evidence.gaussians import Gaussians
from pyro_vae.evidence.refined import Refined, weighed
from pyro_vae.processes import dealt, rank
from pyro_vae.programs.pair import opened
from tests.faults.scale import times
from tests.processes.forked import together
from tests.scenarios import Distorted, linear_gaussian

METHODS: dict[str, pv.Method[Any]] = {
    "importance": pv.Importance(num_particles=400, num_scouts=1),
    "annealed": pv.Annealed(num_temperatures=3, num_chains=200, num_leapfrog=1),
    "quadrature": pv.Quadrature(num_points=51),
    "refined": pv.Refined(num_particles=300, num_steps=3, num_draws=200, num_scouts=1),
}
if times(0, 1):
    METHODS["more"] = pv.Importance(num_particles=40, target_error=0.2, num_scouts=0)
    METHODS["laplace"] = pv.Laplace(num_particles=6000, num_climbs=1)


def measured() -> dict[str, dict[str, Any]]:
    """All figures of 17 data, in two blocks, but for the seconds."""
    model, x = linear_gaussian(num_data=17)
    guide = Distorted(model, width=0.8, shift=0.5)
    found: dict[str, dict[str, Any]] = {}
    for name, method in METHODS.items():
        estimate = pv.log_evidence(model, guide, x[:3] if name == "quadrature" else x, method)
        names = [field.name for field in fields(estimate) if field.name != "seconds"]
        found[name] = {each: getattr(estimate, each) for each in names}
    return found


@pytest.fixture(scope="module")
def both() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    return measured(), together(2, measured)


@pytest.mark.parametrize("name", METHODS)
def test_per_datum_figures_are_the_same_to_the_bit(name: str, both: Any) -> None:
    one, two = both
    for other in two:
        for field, value in one[name].items():
            theirs = other[name][field]
            assert torch.equal(theirs, value) if isinstance(value, Tensor) else theirs == value


def squared(x: Tensor, index: Tensor | None = None) -> None:
    """Two modes in each posterior, mirror images."""
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        pyro.sample("obs", dist.Normal(z[..., :1] ** 2, 0.3).to_event(1), obs=x)


def just_missed() -> Tensor:
    """Of Gaussians that nearly reach the other mode, which of them do by noise."""
    x = torch.full((40, 1), 1.5)
    with opened(squared, None, x) as pair:
        mean, scale = torch.tensor([1.2, 0.0, 0.0]), torch.tensor([0.73, 1.0, 1.0])
        shape = Gaussians(mean.repeat(40, 1), scale.repeat(40, 1))
        return weighed(Refined(400, num_scouts=1, engine="pyro"), pair, shape).blind


def test_processes_agree_on_what_is_missed() -> None:
    one, two = just_missed(), together(2, just_missed)
    assert 0 < one.sum() < 40
    assert all(torch.equal(found, one) for found in two)


def hurried() -> tuple[int, Any, list[int]]:
    """With a budget, under which each process would decide otherwise, where the second one
    has no block; and the curve that annealing goes along.
    """
    model, x = linear_gaussian(num_data=10)
    quick = pv.Annealed(4, "prior", num_chains=200, num_leapfrog=1, engine="pyro", budget=1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "pyro_vae.evidence.annealed._within",
            lambda plan, *_: plan._replace(num_temperatures=4 + rank()),
        )
        plan = pv.log_evidence(model, Distorted(model), x, quick).plan
    curve = pv.rate_distortion_curve(model, x, method=replace(quick, budget=None), num_points=2)
    return len(dealt(1)), plan.num_temperatures, curve.rate.tolist()


def test_the_first_clock_decides_for_all() -> None:
    alone = hurried()
    found = together(2, hurried)
    assert [blocks for blocks, *_ in found] == [1, 0]
    assert [temperatures for _, temperatures, _ in found] == [4, 4]
    assert all(rates == alone[2] for *_, rates in found)
