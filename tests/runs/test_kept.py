"""A calibration that is kept is the one that is read; what is damaged is none."""

from __future__ import annotations

import json
from typing import Any

import pytest

import pyro_vae as pv
from pyro_vae.runs.kept import pack, unpack
from tests.scenarios import linear_gaussian


def made() -> pv.Calibration:
    model, x = linear_gaussian(4)
    guide = pv.ExactGuide(model)
    return pv.check_calibration(model, guide, x, num_simulations=20, num_draws=9)


def test_what_is_kept_is_what_is_read() -> None:
    calibration = made()
    again = unpack(json.loads(json.dumps(pack(calibration))))
    assert again is not None and list(again.ranks) == list(calibration.ranks)
    assert all((again.ranks[name] == ranks).all() for name, ranks in calibration.ranks.items())
    assert again.p_values == calibration.p_values and again.verdict == calibration.verdict


@pytest.mark.parametrize(
    "change",
    [
        {"ranks": None},
        {"ranks": {}},
        {"ranks": {"log_guide": "1 2 x"}},
        {"ranks": {"log_guide": "1 -2"}},
        {"ranks": {"log_guide": "1 10"}},
        {"ranks": {"log_guide": "9" * 5000}},
        {"ranks": {"log_guide": "٣"}},
        {"ranks": {"log_guide": [1, 2]}},
        {"ranks": {"log_guide": "1 2", "other": "1"}},
        {"ranks": {"other": "1"}},
        {"num_draws": "9"},
        {"num_draws": 0},
        {"num_draws": True},
        {"alpha": 2.0},
        {"alpha": None},
        {"seed": 1.5},
    ],
)
def test_what_is_damaged_is_none(change: dict[str, Any]) -> None:
    facts = {"num_draws": 9, "seed": 0, "alpha": 0.05, "ranks": {"log_guide": "1 2"}}
    assert unpack(facts) is not None
    assert unpack(facts | change) is None


@pytest.mark.parametrize("value", [None, 3, "ranks", []])
def test_what_is_no_calibration(value: Any) -> None:
    assert unpack(value) is None
