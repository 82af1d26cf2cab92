"""Guides whose parameters belong to the very data that they are first run on: Pyro's own,
unchanged, and some by hand.
"""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoDelta, AutoMultivariateNormal, AutoNormal
from torch import Tensor

from pyro_vae import (
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
from tests.guides.by_place import PER_DATUM, POSITIVE, ByHand, by_hand, make


@pytest.mark.parametrize("num_data", [1, 9])  # forty run in blocks, as below
@pytest.mark.parametrize("name", PER_DATUM)
def test_guides_of_each_datum_find_its_mean_field_optimum(name: str, num_data: int) -> None:
    model, x = make(num_data)
    guide = fit_local(model, PER_DATUM[name](model), x, num_steps=500).guide
    est = log_evidence(model, guide, x, Importance(num_particles=2000))
    best = model.log_px(x) - model.mean_field_gap()
    # the last steps, of one draw each, leave it a little short of its best
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
    guide = fit_local(model, PER_DATUM[name](model), x, num_steps=300).guide
    # blocks of 8 data otherwise
    found = log_evidence(model, guide, x, Importance(num_particles=10_000, num_scouts=2))
    assert ((found.log_px - model.log_px(x)).abs() < 5 * found.log_px_error).all()
    refined = log_evidence(
        model, guide, x, Importance(num_particles=200, target_error=0.02, budget=20.0)
    )
    assert ((refined.log_px - model.log_px(x)).abs() < 5 * refined.log_px_error).all()
    data = draws_to_arviz(model, guide, x, num_draws=20_000)
    assert (torch.tensor(data["weights"]["log_px"].values) - model.log_px(x)).abs().max() < 0.05


def test_a_guide_by_hand_starts_annealing_and_tells_its_units() -> None:
    model, x = make(40)
    guide = fit_local(model, by_hand, x, num_steps=300).guide
    found = log_evidence(model, guide, x, Annealed(num_temperatures=50, num_chains=64))
    assert (found.log_px - model.log_px(x)).abs().max() < 0.3
    units = latent_units(model, guide, x, batch_size=16)
    assert units is not None and units.num_active == 2


def test_the_units_of_an_autoguide() -> None:
    model, x = make(9)
    guide = fit_local(model, AutoNormal(model), x, num_steps=300).guide
    units = latent_units(model, guide, x)
    by_hand = log_evidence(model, guide, x, Importance(num_particles=2000, num_scouts=0))
    assert units is not None and units.num_active == 2
    assert abs(units.rates.sum() - by_hand.rate.mean()) < 0.2, (units.rates, by_hand.rate)
    point = AutoDelta(model)
    assert latent_units(model, point, x) is None


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
    fit(subsampled, plates, y, epochs=150, batch_size=16, valid=0, optimizer=adam, quiet=True)
    est = log_evidence(
        subsampled, plates, y, Importance(num_particles=1000), index=torch.arange(40)
    )
    exact = dist.Normal(0.0, 2**0.5).log_prob(y).sum(-1)
    assert (est.elbo - exact).mean().abs() < 0.1
    for program in model.parameters():
        program.requires_grad_(False)
    fit(model, table, x, epochs=150, batch_size=16, valid=0, optimizer=adam, quiet=True)
    est = log_evidence(model, table, x, Importance(num_particles=1000), index=torch.arange(40))
    best = model.log_px(x) - model.mean_field_gap()
    assert (est.elbo - best).mean().abs() < 0.1  # of 1.2 at the start


def adam(params: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(params, lr=0.03)


def test_a_guide_of_other_data_is_refused() -> None:
    model, x = make(40)
    guide = fit_local(model, AutoNormal(model), x, num_steps=5).guide
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
