"""Guides whose parameters belong to the very data that they are first run on: Pyro's own,
unchanged, and some by hand.
"""

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
    AutoCallable,
    AutoDelta,
    AutoDiagonalNormal,
    AutoDiscreteParallel,
    AutoGaussian,
    AutoGuideList,
    AutoHierarchicalNormalMessenger,
    AutoIAFNormal,
    AutoLaplaceApproximation,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
    AutoNormalMessenger,
    AutoRegressiveMessenger,
    AutoStructured,
)
from pyro.nn import PyroModule, PyroParam
from torch import Tensor

from pyro_vae import (
    LinearGaussian,
    check_calibration,
    fit,
    fit_local,
    gap_ledger,
    latent_units,
    log_evidence,
    sandwich,
)
from pyro_vae.evidence import Annealed, Importance
from pyro_vae.programs.parts import takes_parts
from pyro_vae.report.export import draws_to_arviz

POSITIVE = dist.constraints.positive


def make(num_data: int) -> tuple[LinearGaussian, Tensor]:
    pyro.clear_param_store()
    torch.manual_seed(0)
    model = LinearGaussian(5, 2, sigma=0.7)
    return model, model.sample(num_data) + 0.7 * torch.randn(num_data, 5)


def by_hand(x: Tensor, index: Tensor | None = None) -> None:
    """As in Pyro's tutorials: row n of the parameters is datum n's, by its place."""
    loc = pyro.param("loc", torch.zeros(len(x), 2))
    scale = pyro.param("scale", lambda: torch.ones(len(x), 2), constraint=POSITIVE)
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("latent", dist.Normal(loc, scale).to_event(1))


class ByHand(PyroModule):
    """The same, with parameters that are made at the first call."""

    def forward(self, x: Tensor, index: Tensor | None = None) -> None:
        if not hasattr(self, "loc"):
            self.loc = PyroParam(torch.zeros(len(x), 2))
            self.scale = PyroParam(torch.ones(len(x), 2), constraint=POSITIVE)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("latent", dist.Normal(self.loc, self.scale).to_event(1))


def listed(model: LinearGaussian) -> AutoGuideList:
    guides = AutoGuideList(model)
    guides.append(AutoNormal(model))
    return guides


PER_DATUM: dict[str, Callable[[Any], Any]] = {
    "AutoNormal": AutoNormal,
    "AutoGuideList": listed,
    "AutoCallable": lambda model: AutoCallable(model, by_hand),
    "by hand": lambda model: by_hand,
    "by hand, a module": lambda model: ByHand(),
}
JOINT = [
    AutoDiagonalNormal,
    AutoMultivariateNormal,
    AutoLowRankMultivariateNormal,
    AutoIAFNormal,
    AutoStructured,
    AutoGaussian,
]
MESSENGERS = [AutoNormalMessenger, AutoHierarchicalNormalMessenger, AutoRegressiveMessenger]


@pytest.mark.parametrize("num_data", [1, 9, 40])
@pytest.mark.parametrize("name", PER_DATUM)
def test_guides_of_each_datum_find_its_mean_field_optimum(name: str, num_data: int) -> None:
    model, x = make(num_data)
    guide = fit_local(model, PER_DATUM[name](model), x, num_steps=1000)
    est = log_evidence(model, guide, x, Importance(num_particles=2000))
    best = model.log_px(x) - model.mean_field_gap()
    assert ((est.elbo - best).abs() < 5 * est.elbo_error + 5e-3).all(), (
        est.elbo,
        best,
        est.elbo_error,
    )
    assert ((est.log_px - model.log_px(x)).abs() < 5 * est.log_px_error).all()
    ledger = gap_ledger(model, {"auto": guide}, x, method=Importance(num_particles=1000))
    assert abs(ledger.entries["auto"].inference.mean - model.mean_field_gap().item()) < 0.05


@pytest.mark.parametrize("name", ["AutoNormal", "by hand", "by hand, a module"])
def test_they_run_on_all_data_where_others_run_in_blocks(name: str) -> None:
    """Forty data are three blocks of importance sampling and more of export, `target_error` comes
    back for some.
    """
    model, x = make(40)
    guide = fit_local(model, PER_DATUM[name](model), x, num_steps=600)
    # blocks of 8 data otherwise
    found = log_evidence(model, guide, x, Importance(num_particles=10_000, num_scouts=2))
    assert ((found.log_px - model.log_px(x)).abs() < 5 * found.log_px_error + 1e-3).all()
    refined = log_evidence(
        model, guide, x, Importance(num_particles=200, target_error=0.02, budget=20.0)
    )
    assert ((refined.log_px - model.log_px(x)).abs() < 5 * refined.log_px_error + 1e-3).all()
    data = draws_to_arviz(model, guide, x, num_draws=20_000)
    assert (torch.tensor(data["weights"]["log_px"].values) - model.log_px(x)).abs().max() < 0.05


def test_a_guide_by_hand_starts_annealing_and_tells_its_units() -> None:
    model, x = make(40)
    guide = fit_local(model, by_hand, x, num_steps=600)
    found = log_evidence(model, guide, x, Annealed(num_temperatures=50, num_chains=64))
    assert (found.log_px - model.log_px(x)).abs().max() < 0.3
    units = latent_units(model, guide, x, batch_size=16)
    assert units is not None and units.num_active == 2


@pytest.mark.parametrize("make_guide", JOINT, ids=lambda make_guide: make_guide.__name__)
def test_guides_of_all_data_at_once_are_for_one_datum(make_guide: Callable[[Any], Any]) -> None:
    model, x = make(1)
    guide = fit_local(model, make_guide(model), x, num_steps=1000)
    est = log_evidence(model, guide, x, Importance(num_particles=2000))
    gap = (model.log_px(x) - est.elbo).item()
    assert -5 * est.elbo_error.item() < gap < model.mean_field_gap().item() + 0.03
    assert (est.log_px - model.log_px(x)).abs().item() < 5 * est.log_px_error.item() + 1e-4
    for num_data in (2, 9, 40):
        model, x = make(num_data)
        guide = make_guide(model)
        words = (
            rf"is one draw for all {num_data} data.*use AutoNormal,"
            r" or Local\(FullRank\(d\), num_data\)"
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
    guide = fit_local(model, AutoDiscreteParallel(model), x, num_steps=500, loss=loss)
    each = dist.Normal(centres, 1.5).log_prob(x[:, None]) + torch.tensor([0.3, 0.7]).log()
    est = log_evidence(model, guide, x, Importance(num_particles=2000))
    assert (est.log_px - each.logsumexp(-1)).abs().max() < 0.05

    pyro.clear_param_store()
    other, x = make(9)
    with pytest.raises(ValueError, match=r"guide: running it on x .* failed: .*to be discrete"):
        fit_local(other, AutoDiscreteParallel(other), x)


def test_minibatches_are_refused() -> None:
    model, x = make(40)
    for make_guide in PER_DATUM.values():
        pyro.clear_param_store()
        with pytest.raises(
            ValueError, match="by their place, and minibatches take other places: use fit_local"
        ):
            fit(model, make_guide(model), x, batch_size=40, epochs=1, valid=0, quiet=True)


def test_a_table_that_is_read_by_index_is_trained_in_minibatches() -> None:
    """By hand, and by Pyro's plates of all data from which a minibatch is a subsample."""
    model, x = make(40)

    def table(x: Tensor, index: Tensor) -> None:
        loc, log_scale = (
            pyro.param(name, torch.zeros(40, 2))[index] for name in ("loc", "log_scale")
        )
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("latent", dist.Normal(loc, log_scale.exp()).to_event(1))

    def subsampled(x: Tensor, index: Tensor) -> None:
        with pyro.plate("data", 40, subsample=index, dim=-1):
            z = pyro.sample("latent", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("obs", dist.Normal(z, 1.0).to_event(1), obs=x)

    assert takes_parts(table, x, torch.arange(40))
    plates = AutoNormal(
        subsampled, create_plates=lambda x, index: pyro.plate("data", 40, subsample=index, dim=-1)
    )
    assert takes_parts(plates, x, torch.arange(40))
    assert plates.prototype_trace is None  # nothing is left of the trial
    y = x[:, :2]
    fit(subsampled, plates, y, epochs=400, batch_size=16, valid=0, optimizer=adam, quiet=True)
    est = log_evidence(
        subsampled, plates, y, Importance(num_particles=1000), index=torch.arange(40)
    )
    exact = dist.Normal(0.0, 2**0.5).log_prob(y).sum(-1)
    assert (est.elbo - exact).mean().abs() < 0.1
    for program in model.parameters():
        program.requires_grad_(False)
    fit(model, table, x, epochs=400, batch_size=16, valid=0, optimizer=adam, quiet=True)
    est = log_evidence(model, table, x, Importance(num_particles=1000), index=torch.arange(40))
    best = model.log_px(x) - model.mean_field_gap()
    assert (est.elbo - best).mean().abs() < 0.1  # of 1.2 at the start


def adam(params: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(params, lr=0.02)


def test_a_guide_of_other_data_is_refused() -> None:
    model, x = make(40)
    guide = fit_local(model, AutoNormal(model), x, num_steps=5)
    with pytest.raises(
        ValueError, match=r"inside a plate of size 40 at dim -1, expected 9, .* make a new one"
    ):
        log_evidence(model, guide, x[:9], Importance(num_particles=5))
    fit_local(model, by_hand, x, num_steps=5)
    with pytest.raises(ValueError, match=r"inside plate\('data'\) at site latent.*9 vs 40"):
        log_evidence(model, by_hand, x[:9], Importance(num_particles=5))
    for run in (
        lambda: sandwich(model, by_hand, x),
        lambda: check_calibration(model, by_hand, x),
    ):
        with pytest.raises(ValueError, match="guide: got a table with a row"):
            run()


def test_a_model_of_the_size_of_the_data_is_refused() -> None:
    def model(x: Tensor, index: Tensor | None = None) -> None:
        scale = pyro.param("noise", torch.ones(len(x)), constraint=POSITIVE)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("latent", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("obs", dist.Normal(z.sum(-1), scale), obs=x)

    pyro.clear_param_store()
    with pytest.raises(
        ValueError,
        match="model: it has parameters for just the data that it is run on, by their place",
    ):
        log_evidence(model, by_hand, torch.zeros(20), Importance(num_particles=5))


def test_a_trial_leaves_nothing_behind() -> None:
    model, x = make(9)
    for make_guide in (
        AutoNormal,
        AutoMultivariateNormal,
        lambda model: ByHand(),
        lambda model: by_hand,
    ):
        guide = make_guide(model)
        before, state = dict(vars(guide)), torch.get_rng_state()
        assert not takes_parts(guide, x)
        assert vars(guide).keys() == before.keys() and not list(pyro.get_param_store().keys())
        assert torch.equal(torch.get_rng_state(), state)
        if isinstance(guide, torch.nn.Module):
            assert not list(guide.parameters())


def test_a_joint_guide_of_one_datum_is_below_log_px() -> None:
    model, x = make(3)
    for row in x.split(1):
        pyro.clear_param_store()
        guide = fit_local(model, AutoMultivariateNormal(model), row, num_steps=2000)
        est = log_evidence(model, guide, row, Importance(num_particles=5000))
        assert (est.elbo - model.log_px(row)).abs().item() < 5e-3
        assert (est.log_px - model.log_px(row)).abs().item() < 5 * est.log_px_error.item()
    ledger = gap_ledger(model, {"auto": guide}, row, method=Importance(num_particles=200))
    assert abs(ledger.entries["auto"].inference.mean) < 0.01
    assert math.isfinite(ledger.entries["auto"].seconds)
