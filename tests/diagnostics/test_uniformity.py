"""The test of ranks: its p-values, its band, its coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pyro_vae.diagnostics.calibration import DENSITIES, Calibration
from pyro_vae.diagnostics.uniformity import _tables, _tail, critical, limits, p_value


def test_coverage_counts_ranks() -> None:
    ranks = {"log_guide": torch.arange(10).repeat(10)}
    found = Calibration(ranks, 9, 0, 0.05)
    held, error = found.coverage([0.0, 0.2, 0.55, 1.0])
    torch.testing.assert_close(held, torch.tensor([0.0, 0.2, 0.55, 1.0]).double())
    smooth = torch.tensor([1 / 102, 21 / 102, 56 / 102, 101 / 102]).double()
    torch.testing.assert_close(error, (smooth * (1 - smooth) / 100).sqrt())
    # every draw is denser
    lowest = Calibration({"log_guide": torch.zeros(30, dtype=torch.long)}, 9, 0, 0.05)
    assert lowest.coverage([0.9])[0] == 0 and lowest.coverage([1.0])[0] == 1
    with pytest.raises(ValueError, match=r"levels: got \[1.5\]"):
        found.coverage([1.5])


@pytest.mark.parametrize(("num", "num_draws"), [(30, 5), (50, 19), (400, 99)])
def test_p_values_are_those_of_simulated_ranks(num: int, num_draws: int) -> None:
    generator, size = np.random.default_rng(0), 20_000
    uniform = np.full(num_draws + 1, 1 / (num_draws + 1))
    counts = generator.multinomial(num, uniform, size).cumsum(1)[:, :-1]
    below, above = (table[np.arange(num_draws), counts] for table in _tables(num, num_draws))
    gammas = 2 * np.minimum(below, above).min(1)
    for quantile in (0.002, 0.01, 0.05, 0.3, 0.9):
        gamma = np.quantile(gammas, quantile, method="lower")
        share, exact = (gammas <= gamma * (1 + 1e-7)).mean(), _tail(gamma, num, num_draws)
        error = math.sqrt(exact * (1 - exact) / size)
        assert abs(share - exact) < 5 * error, (
            f"{share} simulated, {exact} exact, +- {error} (n = {size})"
        )
    for alpha in (0.05, 0.002):
        lower, upper = limits(critical(num, num_draws, alpha), num, num_draws)
        outside = ((counts < lower) | (counts > upper)).any(1).mean()
        assert outside < alpha + 5 * math.sqrt(alpha / size), (
            f"{outside} outside of a band of level {1 - alpha}"
        )
        assert outside > alpha / 4 or num < 50  # not much wider than it need be


def test_p_values_by_hand() -> None:
    """Five draws: all 20 ranks 0, so that the statistic is 2 P(C_0 >= 20) = 2 / 6^20."""
    assert p_value(torch.zeros(20, dtype=torch.long), 5) == pytest.approx(5 * 2 / 6**20, rel=1e-6)
    even = torch.arange(6).repeat(20)
    assert p_value(even, 5) > 0.99
    assert p_value(even.flip(0), 5) == p_value(even, 5)


def test_a_quantity_is_flagged_where_its_ecdf_leaves_the_band() -> None:
    generator = torch.Generator().manual_seed(0)
    names = [*(f"latent[{number}]" for number in range(197)), *DENSITIES]
    power = torch.linspace(1, 2, len(names))  # ever further from uniform
    ranks = {
        name: (torch.rand(100, generator=generator) ** p * 20).long()
        for name, p in zip(names, power, strict=True)
    }
    found = Calibration(ranks, 19, 0, 0.05)
    lower, upper = found.band()
    assert lower.shape == upper.shape == (20,) and lower[-1] == upper[-1] == 1
    left = {
        name for name in names if ((found.ecdf(name) < lower) | (found.ecdf(name) > upper)).any()
    }
    assert left == set(found.flagged) and 10 < len(left) < 190
    wide, narrow = found.band(0.999), found.band(0.5)
    assert (
        (wide[0] <= narrow[0]).all()
        and (wide[1] >= narrow[1]).all()
        and (wide[1] > narrow[1]).any()
    )
    with pytest.raises(ValueError, match=r"level: got 1\.0"):
        found.band(1.0)
    assert "more of 200: the guide is biased (too high) in" in found.verdict
