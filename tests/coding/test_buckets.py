"""Buckets have equal mass under the prior, and a q's masses are those of a normal."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import norm

from pyro_vae.coding.buckets import CHANCE, UNIT, Integers, buckets, fixed, normal_mass


def test_the_table_is_the_normal_distribution_function() -> None:
    place = np.linspace(-9, 9, 10_001)
    whole = np.floor(place * 2.0**40).astype(np.int64)
    found = normal_mass(whole) / 2.0**32
    assert np.abs(found - norm.cdf(place)).max() < 3e-9
    assert (np.diff(found) >= 0).all()


@pytest.mark.parametrize("bits", [1, 6, 14])
def test_buckets_have_equal_mass(bits: int) -> None:
    made = buckets(bits)
    inner = made.edges[1:-1] / 2.0**UNIT
    assert np.abs(norm.cdf(inner) - np.arange(1, 2**bits) / 2**bits).max() < 2.0**-UNIT
    assert np.abs(norm.cdf(made.centres) * 2**bits - np.arange(2**bits) - 0.5).max() < 0.3
    assert (np.diff(made.centres) > 0).all()


def masses(bits: int, m: Integers, inverse: Integers) -> NDArray[np.float64]:
    """q's mass in each bucket, by the chances of its bits."""
    made, every = buckets(bits), np.arange(2**bits)
    chances = made.chances(every, m, inverse) / 2.0**CHANCE
    return np.where(made.digits(every) == 1, chances, 1 - chances).prod(0)


@pytest.mark.parametrize("bits", [6, 12])
@pytest.mark.parametrize(("mean", "scale"), [(0, 1), (0.3, 0.1), (-2, 0.5), (1, 3), (9, 0.01)])
def test_masses_are_those_of_q(bits: int, mean: float, scale: float) -> None:
    m, inverse = fixed(torch.tensor([mean]), torch.tensor([scale]))
    found = masses(bits, m, inverse)
    assert found.min() > 0 and found.sum() == pytest.approx(1, abs=1e-12)

    inner = buckets(bits).edges[1:-1] / 2.0**UNIT
    exact = np.diff([0, *norm.cdf(inner, mean, scale), 1])
    # no chance is 0, and m and 1 / s are multiples of 2^-20
    assert np.abs(found - exact).max() < bits * 2.0**-CHANCE + 1e-6
    if mean < 9:
        divergence = np.nansum(exact * (np.log(np.maximum(exact, 1e-300)) - np.log(found)))
        assert 0 <= divergence + 1e-9 < 1e-6


def test_the_chances_of_a_prior_are_halves() -> None:
    m, inverse = fixed(torch.zeros(1), torch.ones(1))
    chances = buckets(10).chances(np.arange(1024), m, inverse)
    assert np.abs(chances / 2.0**CHANCE - 0.5).max() < 0.02  # at the last bit, of edges in units


def test_however_odd_a_q_is_each_bit_has_its_chance() -> None:
    for mean in (-1e9, -64.0, 0.0, 3e38):
        for scale in (1e-30, 1e-3, 1.0, 1e30):
            m, inverse = fixed(torch.tensor([mean]), torch.tensor([scale]))
            found = buckets(10).chances(np.arange(1024), m, inverse)
            assert found.min() >= 1 and found.max() < 2**CHANCE
            assert masses(10, m, inverse).sum() == pytest.approx(1, abs=1e-9)
