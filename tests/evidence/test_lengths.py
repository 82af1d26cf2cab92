"""How long to anneal follows from what short chains say."""

from __future__ import annotations

import math

import pytest
import torch

import pyro_vae as pv
from pyro_vae.evidence.lengths import long_chains, needed, planned
from tests.scenarios import Distorted


def test_what_is_needed_follows_from_the_error_of_the_short_chains() -> None:
    # T' K' / K = 100 at T = 1,000: the error at T is the short one's, times sqrt(100 / T)
    errors = torch.tensor([0.01, 0.05, 0.07, 0.1, 0.2, math.inf, 0.002])
    assert needed(errors, 0.05, 1000).tolist() == [250, 250, 500, 1000, 1000, 1000, 250]
    assert needed(errors, 0.1, 1000).tolist() == [250, 250, 250, 250, 1000, 1000, 250]
    assert needed(torch.tensor([math.nan, 0.08]), 0.05, 1000).tolist() == [1000, 500]


@pytest.mark.parametrize(
    ("most", "number", "lengths"),
    [
        (1000, 1000, [250, 500, 1000]),
        (1000, 300, [250, 300]),
        (1000, 90, [90]),
        (30, 30, [15, 30]),
        (10, 10, []),
    ],
)
def test_the_last_length_is_all_that_there_is_time_for(
    most: int, number: int, lengths: list[int]
) -> None:
    assert planned(most, number) == lengths


def test_few_data_have_the_same_work_in_fewer_steps() -> None:
    many, few = long_chains(1000, 100), long_chains(1000, 5)
    assert few.num_chains == 4 * many.num_chains
    assert few.plan.num_chains * few.num_temperatures == many.plan.num_chains * 1000
    assert long_chains(200, 5).num_temperatures == 200  # too few to give some up
    assert long_chains(1000, 5, budget=60.0) == many  # by which evaluations are counted


def test_the_foretold_error_is_that_of_longer_chains() -> None:
    """Where chains keep up with the path: a linear-Gaussian posterior, from a Gaussian that is too
    wide.
    """
    torch.manual_seed(0)
    model = pv.LinearGaussian(6, 4)
    x, guide = model.sample(60), Distorted(model, 1.6)
    before = pv.log_evidence(model, guide, x, pv.Annealed(20, num_chains=32, engine="pyro"))
    after = pv.log_evidence(model, guide, x, pv.Annealed(160, seed=1, engine="pyro"))
    foretold = before.log_px_error * math.sqrt(20 * 32 / (160 * 16))
    assert 0.75 < (after.log_px_error / foretold).median() < 1.33
