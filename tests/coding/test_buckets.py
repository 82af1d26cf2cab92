"""Buckets have equal mass under the prior, and a q's masses are those of a normal."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm

from pyro_vae.coding.buckets import MASS, UNIT, buckets, fixed, normal_mass


def test_the_table_is_the_normal_distribution_function() -> None:
    place = np.linspace(-9, 9, 10_001)
    whole = np.floor(place * 2.0**32).astype(np.int64)
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


@pytest.mark.parametrize("bits", [6, 12])
@pytest.mark.parametrize(("mean", "scale"), [(0, 1), (0.3, 0.1), (-2, 0.5), (1, 3), (9, 0.01)])
def test_masses_are_those_of_q(bits: int, mean: float, scale: float) -> None:
    made = buckets(bits)
    m, inverse = fixed(torch.tensor([mean]), torch.tensor([scale]))
    low, width = made.interval(np.arange(2**bits), m, inverse)

    assert low[0] == 0 and width.sum() == 2**MASS and width.min() >= 2
    assert (low[1:] == low[:-1] + width[:-1]).all()
    exact = norm.cdf(made.edges[1:-1] / 2.0**UNIT, mean, scale)
    assert np.abs(low[1:] / 2**MASS - exact).max() < 2.0 ** (bits + 1 - MASS) + 4 * 2.0**-UNIT


def test_a_mass_is_found_in_its_bucket() -> None:
    made, rng = buckets(12), np.random.default_rng(0)
    mean, scale = torch.randn(1000) * 2, torch.rand(1000) + 0.001
    m, inverse = fixed(mean, scale)
    mass = rng.integers(0, 2**MASS, 1000)
    low, width = made.interval(made.find(mass, m, inverse), m, inverse)
    assert ((low <= mass) & (mass < low + width)).all()


def test_however_odd_a_q_is_each_bucket_has_its_mass() -> None:
    made = buckets(10)
    for mean in (-1e9, -64.0, 0.0, 3e38):
        for scale in (1e-30, 1e-3, 1.0, 1e30):
            m, inverse = fixed(torch.tensor([mean]), torch.tensor([scale]))
            _, width = made.interval(np.arange(1024), m, inverse)
            assert width.min() >= 2 and width.sum() == 2**MASS
