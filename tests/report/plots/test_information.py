"""Bounds of the information, and each datum's."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.found import RESULTS
from tests.report.plots.reading import axes_of, line, words


def found() -> Any:
    return RESULTS["Information"][0]()


def test_bounds_on_both_sides() -> None:
    result = found()
    axes = axes_of(result)
    rows = [result.lower, result.upper, result.rate, result.marginal]
    points = [bar.lines[0].get_xydata()[0] for bar in axes.containers]
    expected = [(values.mean().item(), place) for place, values in enumerate(rows)]
    np.testing.assert_allclose(points, expected)

    assert words(axes) == ["log 10 = 2.30, the most that the lower bound can be"]
    assert line(axes, "log 10")[0] == pytest.approx([math.log(10)] * 2)
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names[0] == "I_q(x; z) is at least" and names[3] == "KL(q(z) || p(z)),\nat most"
    assert axes.get_xlabel() == "nats per datum, with 95% over the data"


def test_an_upper_bound_that_is_infinite_is_told() -> None:
    upper = torch.full_like(found().upper, math.inf)
    axes = axes_of(replace(found(), upper=upper))
    assert len(axes.containers) == 3 and "not finite" in words(axes)


def test_each_datum_has_a_point() -> None:
    result = found()
    axes = axes_of(result, "data")
    points = line(axes, "a datum")
    np.testing.assert_allclose(points, [result.rate.mean(0), result.lower.mean(0)])
    assert words(axes) == ["a datum", "log 10 = 2.30", "the rate"]
    assert axes.get_xlabel() == "rate, log q(z|x) - log p(z), nats"
