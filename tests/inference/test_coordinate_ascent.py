"""Coordinate ascent against the closed-form mean-field optimum."""

from __future__ import annotations

import pytest
import torch

from pyro_vae import GaussianMixture, LinearGaussian, coordinate_ascent, log_evidence
from pyro_vae.evidence import Importance
from tests.scenarios import linear_gaussian


@pytest.mark.parametrize("dim", [2, 10, 50])
def test_converges_to_the_optimum_and_rises_at_every_sweep(dim: int) -> None:
    model, x = linear_gaussian(20, dim, dim + 4)
    ascent = coordinate_ascent(model, x)
    rises = ascent.elbos.diff(dim=0)
    assert rises.min() > -1e-11 and rises[0].min() > 0
    best = model.log_px(x) - model.mean_field_gap()
    assert (best - ascent.elbos[-1]).abs().max() < 1e-8
    q, star = ascent.guide.q(torch.arange(20)), model.optimal_mean_field(x)
    torch.testing.assert_close(q.mean, star.mean, atol=1e-5, rtol=0)
    torch.testing.assert_close(q.variance, star.variance)
    est = log_evidence(model, ascent.guide, x, Importance(num_particles=2000))
    assert ((est.elbo - ascent.elbos[-1]).abs() < 5 * est.elbo_error).all()


def test_sweeps_that_ran_out_are_told() -> None:
    model = LinearGaussian(14, 10)
    found = coordinate_ascent(model, model.sample(3), max_sweeps=1)
    assert not found.converged and "NOT converged" in repr(found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": GaussianMixture(4, 2)}, "model: got GaussianMixture.*expected a LinearGaussian"),
        ({"x": torch.ones(2, 3)}, r"x: got shape \(2, 3\)"),
        ({"x": torch.full((2, 4), torch.nan)}, "NaN alone"),
        ({"x": torch.eye(2, 4) / 0}, "finite"),
        ({"max_sweeps": 0}, "max_sweeps"),
    ],
)
def test_bad_input(change: dict[str, object], message: str) -> None:
    arguments = {"model": LinearGaussian(4, 2), "x": torch.ones(2, 4)} | change
    with pytest.raises(ValueError, match=message):
        coordinate_ascent(**arguments)  # type: ignore[arg-type]
