"""What `index` means: the number of each datum in its data set, in every estimator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pyro_vae import (
    check_calibration,
    fit,
    gap_ledger,
    latent_units,
    log_evidence,
    log_weights,
    rate_distortion_curve,
    reference_posterior,
    sandwich,
)
from pyro_vae.evidence import Annealed, Best, Exact, Importance
from pyro_vae.inference.optimum import programs_of
from pyro_vae.report.export import draws_to_arviz
from pyro_vae.swap import swap_guides
from tests.programs.covariates import NUM, data_set, programs
from tests.scenarios import eager


def test_validation_rows_get_their_own_covariates() -> None:
    data = data_set()
    model, guide = programs(data.num_rows)
    assert data.valid is not None
    run = fit(model, guide, data, epochs=1, batch_size=10, optimizer=no_steps, quiet=True)
    by_hand = (
        model.closed_form(data.valid.x, data.valid.numbers()).mean().item()
    )  # at every draw of the exact posterior
    assert abs(run.history[-1]["valid_elbo"] - by_hand) < 1e-3
    assert abs(by_hand - model.closed_form(data.valid.x, torch.arange(8)).mean().item()) > 100


def no_steps(params: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=1e-12)


def test_a_table_of_the_train_rows_alone_is_refused() -> None:
    model, guide = programs(NUM)
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(
        ValueError, match=r"index: got 40 to 47, where the programs fail \(.*out of bounds.*valid=0"
    ):
        fit(model, guide, data_set(), epochs=1, quiet=True)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    fit(model, guide, data_set().train.x, valid=0, epochs=1, quiet=True)


def test_a_table_that_is_too_short_for_one_datum_alone() -> None:
    data = data_set()
    # too short for the last test datum, which is not among the first eight
    model, guide = programs(data.num_rows - 1)
    with pytest.raises(ValueError, match=r"index: got 48 to 59, where the programs fail"):
        log_evidence(
            model, guide, data.test.x, Importance(num_particles=10), index=data.test.numbers()
        )


ESTIMATORS: dict[str, Callable[..., Tensor]] = {
    "importance": lambda m, g, x, n: (
        log_evidence(m, g, x, Importance(num_particles=10), index=n).log_px
    ),
    "target": lambda m, g, x, n: (
        log_evidence(m, g, x, Importance(num_particles=200, target_error=0.1), index=n).log_px
    ),
    "compiled": lambda m, g, x, n: (
        log_evidence(m, g, x, Importance(num_particles=10, engine="compiled"), index=n).log_px
    ),
    "annealed": lambda m, g, x, n: (
        log_evidence(m, g, x, Annealed(num_temperatures=20), index=n).log_px
    ),
    "best": lambda m, g, x, n: (
        log_evidence(m, g, x, Best(num_particles=200, num_temperatures=20), index=n).log_px
    ),
    "ledger": lambda m, g, x, n: (
        gap_ledger(m, {"exact": g}, x, n, method=Importance(num_particles=200)).log_px
    ),
    "export": lambda m, g, x, n: torch.tensor(
        draws_to_arviz(m, g, x, n, num_draws=30)["weights"]["log_px"].values
    ),
    "full-rank": lambda m, g, x, n: (
        log_evidence(
            m,
            programs_of(swap_guides(m, g, x, ["full-rank"], n))["full-rank"],
            x,
            Importance(num_particles=500),
            index=n,
        ).log_px
    ),
}


@pytest.mark.usefixtures("less_patience")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_evidence_of_test_data_is_that_of_their_own_covariates(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager(monkeypatch)
    data = data_set()
    model, guide = programs(data.num_rows)
    x, numbers = data.test.x, data.test.numbers()
    found, truth = ESTIMATORS[name](model, guide, x, numbers), model.closed_form(x, numbers)
    # other covariates are some hundred nats off
    assert (found - truth).abs().max() < 0.05, (found, truth)


def test_a_closed_form_of_the_model_gets_the_numbers_too() -> None:
    data = data_set()
    model, guide = programs(data.num_rows)
    model.log_px = model.closed_form
    for method in (Exact(), Best()):
        found = log_evidence(model, guide, data.test.x, method, index=data.test.numbers())
        assert torch.allclose(
            found.log_px.float(), model.closed_form(data.test.x, data.test.numbers())
        )


def test_without_numbers_the_data_are_the_first_ones() -> None:
    model, guide = programs(60)
    x = data_set().test.x
    found = log_evidence(model, guide, x, Importance(num_particles=10))
    assert torch.allclose(found.log_px.float(), model.closed_form(x, torch.arange(12)), atol=1e-3)
    assert torch.allclose(
        log_weights(model, guide, x)[0], model.closed_form(x, torch.arange(12)), atol=1e-3
    )
    reference = reference_posterior(model, x[:2], num_chains=2, num_samples=60, num_warmup=50)
    means, _ = reference.moments("latent")
    assert ((means - (x[:2] + model.table[:2]) / 2).abs() < 0.5).all()


def test_diagnostics_take_the_numbers() -> None:
    data = data_set()
    model, guide = programs(data.num_rows)
    x, numbers = data.test.x, data.test.numbers()
    assert check_calibration(model, guide, x, numbers, num_simulations=200).calibrated
    both = sandwich(model, guide, x, numbers, num_data=6, method=Annealed(num_temperatures=20))
    assert torch.allclose(
        both.forward.log_px.float(), model.closed_form(both.x, both.index), atol=0.05
    )
    units = latent_units(model, guide, x, numbers)
    wrong = latent_units(model, guide, x)
    assert (
        units is not None
        and wrong is not None
        and not torch.allclose(units.variances, wrong.variances)
    )

    near = x + model.table[numbers]  # where the prior of each, and no other's, reaches
    curve = rate_distortion_curve(
        model, near, numbers, num_points=2, method=Annealed(start="prior", num_temperatures=50)
    )
    whole = curve.beta.argmax()
    assert curve.beta[whole] == 1
    found = -(curve.rate + curve.distortion)[whole]
    assert (found - model.closed_form(near, numbers)).abs().max() < 0.5
