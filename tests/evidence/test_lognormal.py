"""Intervals by few log-weights: normal ones, skewed ones, and those of chains."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pyro_vae.evidence import Annealed, AnnealedEstimate, log_evidence
from pyro_vae.evidence.chains import Plan
from pyro_vae.evidence.lognormal import normal_error
from pyro_vae.evidence.weights import log_mean_exp, log_mean_exp_error
from tests.scenarios import linear_gaussian


def chains(log_w: Tensor) -> AnnealedEstimate:
    num = log_w.shape[1]
    return AnnealedEstimate(
        log_mean_exp(log_w),
        torch.maximum(log_mean_exp_error(log_w), normal_error(log_w)),
        1.0,
        0.0,
        0,
        log_weights=log_w,
        acceptance=torch.ones(num),
        plan=Plan(100, len(log_w), 5),
        start="prior",
        upper=False,
        blind=torch.zeros(num, dtype=torch.bool),
    )


def gamma(spread: float, sign: float, size: float = 16.0) -> Tensor:
    """Log-weights `(16, 4000)` of a skew distribution, E[w] = 1; skewness 2 / sqrt(size)."""
    drawn = (
        sign
        * spread
        * (torch._standard_gamma(torch.full((16, 4000), size).double()) - size)
        / size**0.5
    )
    scale = sign * spread / size**0.5
    return drawn + scale * size + size * math.log(1 - scale)


@pytest.mark.parametrize("spread", [0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    "draw",
    [
        lambda spread: spread * torch.randn(16, 4000).double() - spread**2 / 2,
        lambda spread: gamma(spread, -1.0),
        lambda spread: gamma(min(spread, 1.0), 1.0),
    ],
    ids=["normal", "left", "right"],
)
def test_sixteen_chains_cover(draw: Callable[[float], Tensor], spread: float) -> None:
    made = chains(draw(spread))
    lower, upper = made.interval()
    assert made.reliable.double().mean() > 0.95
    covered = ((lower <= 0) & (upper >= 0))[made.reliable].double().mean()
    assert covered > 0.93, covered
    for size in (20, 400):  # noise averages out over data, a bias would not
        many = [chains(part).mean_interval() for part in made.log_weights.split(size, 1)]
        held = [low <= 0 <= high for low, high in many if math.isfinite(high)]
        assert sum(held) >= 0.9 * len(held), size


def test_chains_that_spread_too_far_close_no_interval() -> None:
    made = chains(5.0 * torch.randn(16, 200).double())
    _, upper = made.interval()
    assert (
        upper[~made.reliable].isposinf().all()
        and not made.reliable.all()
        and math.isinf(made.mean_interval()[1])
    )


@pytest.mark.parametrize(("dim", "num_temperatures"), [(10, 50), (30, 50)])
def test_few_temperatures_from_the_prior(dim: int, num_temperatures: int) -> None:
    model, x = linear_gaussian(1, dim, dim + 5)
    x = x.repeat(100, 1)
    found = log_evidence(model, None, x, Annealed(start="prior", num_temperatures=num_temperatures))
    lower, upper = found.interval()
    closed = upper.isfinite()
    held = ((lower <= model.log_px(x)) & (model.log_px(x) <= upper))[closed]
    assert closed.double().mean() > 0.8 and held.double().mean() > 0.9
