"""Programs whose plates choose rows by themselves are refused by name, and what a program raises is
told in one line, wherever it is first run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyro_vae as pv
from pyro_vae.programs.traces import prior

X = torch.randn(6, 1)

FIRST: dict[str, Callable[[Any, Any], Any]] = {
    "fit": lambda m, g: pv.fit(m, g, X, epochs=1, valid=0, quiet=True),
    "fit_local": lambda m, g: pv.fit_local(m, g, X, num_steps=1),
    "Local.of": lambda m, g: pv.Local.of(m, X, pv.MeanField),
    "evidence": lambda m, g: pv.log_evidence(m, g, X, pv.Importance(10)),
    "sandwich": lambda m, g: pv.sandwich(m, g, X, num_data=3),
    "calibration": lambda m, g: pv.check_calibration(m, g, X),
    "reference": lambda m, g: pv.reference_posterior(m, X),
    "units": lambda m, g: pv.latent_units(m, g, X),
    "manifold": lambda m, g: pv.manifold(m, X),
}


def programs(plate: Callable[[Tensor], Any]) -> tuple[Any, Any]:
    def model(x: Tensor) -> None:
        with plate(x):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("obs", dist.Normal(z[..., None], 1.0).to_event(1), obs=x[: z.shape[-1]])

    def guide(x: Tensor) -> None:
        loc = pyro.param("loc", torch.zeros(()))
        with plate(x):
            pyro.sample("z", dist.Normal(loc, 1.0))

    return model, guide


@pytest.mark.parametrize("name", FIRST)
def test_a_plate_that_chooses_is_refused_by_name(name: str) -> None:
    both = programs(lambda x: pyro.plate("rows", len(x), subsample_size=4))
    with pytest.raises(ValueError, match=r"plate 'rows': got subsample_size=4, .* leave") as found:
        FIRST[name](*both)
    assert "\n" not in str(found.value)


def test_a_plate_that_takes_all_of_its_rows_does_not_choose() -> None:
    model, guide = programs(lambda x: pyro.plate("rows", len(x), subsample_size=len(x)))
    found = pv.log_evidence(model, guide, X, pv.Importance(500, num_scouts=0))
    exact = dist.Normal(0.0, 2**0.5).log_prob(X[:, 0])
    assert ((found.log_px - exact).abs() < 5 * found.log_px_error).all()


@pytest.mark.parametrize("name", FIRST)
def test_what_a_program_raises_is_told_in_one_line(name: str) -> None:
    both = programs(lambda x: pyro.plate("rows", torch.ones(2) @ torch.ones(3)))
    with pytest.raises(ValueError, match="size") as found:
        FIRST[name](*both)
    assert "\n" not in str(found.value)


def test_without_numbers_a_table_is_read_from_its_first_row_on() -> None:
    table = torch.linspace(1, 2, 40)

    def model(x: Tensor, index: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(table[index], 1.0))
            pyro.sample("obs", dist.Normal(z, 1.0), obs=x[:, 0])

    assert pv.Local.of(model, X, pv.MeanField).table.shape == (6, 2)
    assert pv.Amortized.of(model, X, pv.MeanField, pv.MLP((1,), ())).family.dim == 1


def test_data_of_a_program_without_a_plate_are_drawn() -> None:
    def model(x: Tensor) -> None:
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(2))
        pyro.sample("obs", dist.Normal(z, 1.0).to_event(2), obs=x)

    assert pv.sample(model, torch.zeros(5, 2), num_samples=3).x.shape == (3, 2)
    with pytest.raises(ValueError, match="'z': not inside a plate of size 8"):
        pv.check_calibration(model, prior(model), torch.zeros(5, 2), num_simulations=20)
