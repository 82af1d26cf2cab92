"""Coverage by random points, held to posteriors that are known."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyro_vae as pv
from pyro_vae.diagnostics.ranks import lean_and_spread
from tests.scenarios import Distorted, linear_gaussian

MODEL, X = linear_gaussian(4)
NUMBERS = {"num_simulations": 600, "num_draws": 49}


def test_the_exact_posterior_covers_within_binomial_errors() -> None:
    found = pv.check_coverage(MODEL, pv.ExactGuide(MODEL), X, **NUMBERS)  # type: ignore[arg-type]
    levels = [0.1, 0.3, 0.5, 0.7, 0.9]
    held, error = found.coverage(levels)
    assert ((held - torch.tensor(levels)).abs() < 5 * error).all(), (held, error)
    assert found.covers and found.verdict.startswith("covers")
    lower, upper = found.band()
    assert ((found.ecdf() >= lower) & (found.ecdf() <= upper)).all()


@pytest.mark.parametrize(
    ("width", "shift", "sign", "word"),
    [(2.0, 0.0, -1, "too wide"), (0.5, 0.0, 1, "too narrow"), (1.0, 1.0, 1, "off to a side")],
)
def test_a_wrong_posterior_fails_in_its_own_way(
    width: float, shift: float, sign: int, word: str
) -> None:
    guide = Distorted(MODEL, width, shift)
    found = pv.check_coverage(MODEL, guide, X, **NUMBERS)  # type: ignore[arg-type]
    assert not found.covers and word in found.verdict, found.verdict
    _, spread = lean_and_spread(found.ranks, found.num_draws)
    assert sign * spread > 3
    # too wide: balls hold the truth too often in the end; else too often at first
    level = 0.8 if sign < 0 else 0.2
    held, error = found.coverage([level])
    assert (held - level) > 3 * error


def test_a_guide_that_ignores_x_is_found_out() -> None:
    def prior(x: Tensor, index: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("latent", dist.Normal(x.new_zeros(2), 1.0).to_event(1))

    found = pv.check_coverage(MODEL, prior, X, **NUMBERS)  # type: ignore[arg-type]
    assert not found.covers and found.p_value < 1e-3


def test_simulated_data_miss_what_the_given_ones_miss() -> None:
    like, exact = X.clone(), pv.ExactGuide(MODEL)
    like[:, :3] = torch.nan

    def filled(x: Tensor, index: Tensor | None = None) -> None:
        exact(x.nan_to_num())  # as if 0 had been seen

    assert pv.check_coverage(MODEL, exact, like, **NUMBERS).covers  # type: ignore[arg-type]
    found = pv.check_coverage(MODEL, filled, like, **NUMBERS)  # type: ignore[arg-type]
    assert not found.covers and "too narrow" in found.verdict, found.verdict
    assert pv.check_coverage(MODEL, filled, X, **NUMBERS).covers  # type: ignore[arg-type]


def test_a_guide_without_a_density_is_judged_by_its_draws() -> None:
    guide = pv.SemiAmortized(pv.Amortized(pv.MeanField(2), pv.MLP((5,), ())).double(), MODEL, 2)
    found = pv.check_coverage(MODEL, guide, X, num_simulations=40, num_draws=9)
    assert found.ranks.shape == (40,) and math.isfinite(found.p_value)


def test_all_sites_of_a_constrained_model_are_one_vector() -> None:
    """Gamma-Poisson, whose posterior is a Gamma distribution."""

    def model(x: Tensor, index: Tensor | None = None) -> None:
        with pyro.plate("data", len(x), dim=-1):
            rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
            counts = dist.Poisson(rate[..., None].expand(*rate.shape, 3)).to_event(1)
            pyro.sample("obs", counts, obs=x)

    def posterior(extra: float):  # type: ignore[no-untyped-def]
        def guide(x: Tensor, index: Tensor | None = None) -> None:
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("rate", dist.Gamma(2.0 + x.sum(-1) + extra, 4.0))

        return guide

    like = torch.zeros(2, 3)
    right, wrong = (
        pv.check_coverage(model, posterior(extra), like, **NUMBERS)  # type: ignore[arg-type]
        for extra in (0.0, 3.0)
    )
    assert right.covers and not wrong.covers
