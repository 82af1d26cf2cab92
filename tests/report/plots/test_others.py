"""Bounds, curves, classical inference and data."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.inference.coordinate_ascent import Ascent
from tests.found import RESULTS
from tests.report.plots.reading import axes_of, line, words


def found(name: str) -> Any:
    return RESULTS[name][0]()


def test_bounds_of_a_sandwich() -> None:
    result = found("Sandwich")
    axes = axes_of(result)
    order = result.forward.log_px.argsort()
    np.testing.assert_array_equal(
        line(axes, "lower, forward"), [np.arange(1, 6), result.forward.log_px[order]]
    )
    np.testing.assert_array_equal(line(axes, "upper, reverse")[1], result.reverse.log_px[order])
    assert words(axes) == [
        f"lower, forward: mean {result.forward.mean:.2f}",
        f"upper, reverse: mean {result.reverse.mean:.2f}",
        f"width: mean {result.gap:.2f} ± {result.gap_error:.2f}",
    ]
    assert axes.get_xlabel() == "simulated data, sorted" and axes.get_ylabel() == "log p(x), nats"

    infinite = replace(result.forward, log_px=torch.full((5,), -math.inf))
    with pytest.raises(ValueError, match="result: got no finite bounds"):
        pv.plot(replace(result, forward=infinite))


def test_real_beside_simulated_data() -> None:
    means = {"elbo": (-1.0, -2.0), "rate": (3.0, 3.1)}
    axes = axes_of(pv.Likeness(means, {"elbo": 0.8, "rate": -0.1}))
    bars = {bar.get_y() + 0.25: bar for bar in axes.patches if bar.get_height() == 0.5}
    assert {y: bar.get_width() for y, bar in bars.items()} == pytest.approx({0: 0.8, 1: -0.1})
    assert bars[0].get_facecolor() != bars[1].get_facecolor()
    assert words(axes) == ["alike within ±0.5", "alike", "not alike"]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["elbo\nreal -1.00\nsimulated -2.00", "rate\nreal 3.00\nsimulated 3.10"]
    assert axes.get_xlabel() == "real less simulated, standard deviations over the data"


def test_a_rate_distortion_curve() -> None:
    beta = torch.linspace(0.1, 1, 10, dtype=torch.double)
    rate, distortion = beta[:, None].expand(10, 3), 2 - beta[:, None].expand(10, 3)
    rate = rate.clone()
    rate[2, 1] = math.inf
    axes = axes_of(pv.Curve(beta, rate, distortion, found("Curve").method))
    kept = [0, 1, *range(3, 10)]
    np.testing.assert_allclose(line(axes, "upper bound"), [beta[kept], 2 - beta[kept]])
    told = {text.get_text(): text.xy for text in axes.texts}
    assert told[r"$\beta$ = 0.1"] == pytest.approx((0.1, 1.9))
    assert told[r"$\beta$ = 1"] == pytest.approx((1.0, 1.0)) and len(told) == 6
    assert "1 left out: not finite" in words(axes)
    assert axes.get_xlabel() == "rate, nats per datum"
    assert axes.get_ylabel() == "distortion, nats per datum"
    other = pv.Curve(beta, rate, distortion, found("Curve").method, "squared error")
    assert axes_of(other).get_ylabel() == "distortion, squared error per datum"
    assert "(distortion: squared error)" in repr(other)


def optimum(converged: torch.Tensor | None) -> pv.Optimum[Any]:
    steps = torch.tensor([10, 20, 20, 30, 300])
    return pv.Optimum(pv.Local(pv.MeanField(2), 5), steps, steps, converged, 1.0)


def test_steps_of_those_that_converged_and_of_the_others() -> None:
    axes = axes_of(optimum(torch.tensor([True, True, True, True, False])))
    assert words(axes) == ["4 data converged", "1 datum not converged", "median 20 steps"]
    heights = [sum(bar.get_height() for bar in part) for part in axes.containers]
    assert heights == [4, 1]
    filled = [bar for bar in axes.containers[1] if bar.get_height()]
    assert filled[0].get_x() < 300 <= filled[0].get_x() + filled[0].get_width() + 1e-9
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("steps until convergence", "data")


def test_steps_of_a_fixed_number() -> None:
    axes = axes_of(optimum(None))
    assert words(axes)[0] == "5 data not known whether they converged"
    assert axes.get_xlabel() == "steps"


def test_sweeps_of_coordinate_ascent() -> None:
    result = found("Ascent")
    axes = axes_of(result)
    label = f"{result.elbos[-1].mean():.3f} at the end, NOT converged"
    np.testing.assert_allclose(line(axes, label), [np.arange(6), result.elbos.mean(1)], rtol=1e-6)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("sweeps", "ELBO, nats per datum")

    together = Ascent(result.guide, torch.tensor([-3.0, math.nan, -1.0]), True)
    axes = axes_of(together)
    assert words(axes) == ["-1.000 at the end, converged", "1 left out: not finite"]
    np.testing.assert_array_equal(line(axes, "-1.000"), [[0, 2], [-3, -1]])
    assert axes.get_ylabel() == "ELBO, nats, all data together"


def test_pictures_begin_with_their_mean() -> None:
    data = found("Dataset")
    axes = axes_of(data)
    (image,) = axes.get_images()
    picture = np.asarray(image.get_array())
    assert picture.shape == (4 * 9, 10 * 9)
    np.testing.assert_allclose(picture[:8, :8], data.mean[0], atol=1e-6)
    np.testing.assert_array_equal(picture[:8, 9:17], data.train.x[0, 0])
    np.testing.assert_array_equal(picture[9:17, :8], data.train.x[9, 0])
    assert (
        axes.get_title() == f"digits: the mean (top left), and 39 of {len(data.train):,} train data"
    )


def few_pictures(channels: int) -> pv.Dataset:
    split = pv.Split("train", torch.rand(3, channels, 5, 4), "none")
    return pv.Dataset("some", split, None, split)


@pytest.mark.parametrize("channels", [1, 3])
def test_few_pictures_of_any_shape(channels: int) -> None:
    data = few_pictures(channels)
    (image,) = axes_of(data).get_images()
    picture = np.asarray(image.get_array()).reshape(6, 4 * 5, channels)
    np.testing.assert_array_equal(picture[:5, 5:9], data.train.x[0].permute(1, 2, 0))


@pytest.mark.parametrize("size", [3, 100])
def test_values_are_drawn_by_coordinate(size: int) -> None:
    x = torch.randn(30, size) + torch.arange(size)
    split = pv.Split("train", x, "none")
    axes = axes_of(pv.Dataset("some", split, None, split))
    mean, spread = x.mean(0), x.std(0, correction=0)
    if size == 3:
        data, _, (bar,) = axes.containers[0].lines
        np.testing.assert_allclose(data.get_ydata(), mean, rtol=1e-5)
        ends = np.array(bar.get_segments())[:, :, 1]
        np.testing.assert_allclose(ends[:, 1] - ends[:, 0], 2 * spread, rtol=1e-5)
    else:
        np.testing.assert_allclose(line(axes, "mean")[1], mean, rtol=1e-4, atol=1e-5)
        edge = axes.collections[0].get_paths()[0].vertices[:, 1]
        assert edge.max() == pytest.approx((mean + spread).max().item(), rel=1e-5)
    assert words(axes) == ["mean ± sd over 30 train data"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("coordinate", "value")


def test_a_single_value_is_drawn() -> None:
    split = pv.Split("train", torch.randn(30), "none")
    assert axes_of(pv.Dataset("some", split, None, split)).get_ylabel() == "value"


def test_flat_values_are_pictures_only_where_all_are_shades() -> None:
    x = torch.rand(10, 25)
    x[5] += 1
    split = pv.Split("train", x, "none")
    axes = axes_of(pv.Dataset("some", split, None, split))
    assert not axes.get_images() and axes.get_xlabel() == "coordinate"
