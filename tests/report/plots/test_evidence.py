"""Estimates of log p(x): values, intervals and their open ends, and the weights' health."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.evidence.standing import Part, Step
from pyro_vae.evidence.weights import pareto_threshold
from pyro_vae.report.intervals import write_intervals
from pyro_vae.report.plots import blank, interval_plot, views
from tests.found import RESULTS
from tests.report.plots.reading import axes_of, drawn, line, words

BLUE, ORANGE = "tab:blue", "tab:orange"


def found(name: str) -> Any:
    return RESULTS[name][0]()


def bars(axes: Any) -> Any:
    """x, lower and upper end of all bars, by x."""
    ends = [segment for part in axes.collections for segment in part.get_segments()]
    return np.array(sorted((bar[0, 0], bar[0, 1], bar[1, 1]) for bar in ends)).T


def test_every_datum_is_drawn_with_its_interval() -> None:
    estimate = found("Annealed")
    assert estimate.reliable.sum() > 0
    axes = axes_of(estimate)
    order = estimate.log_px.argsort()
    lower, upper = (end[order] for end in estimate.interval())
    reliable = estimate.reliable[order]

    closed, opened = drawn(axes, BLUE, "o"), drawn(axes, ORANGE, "D")
    values = np.concatenate([closed, opened], 1)
    values = values[:, values[0].argsort()]
    np.testing.assert_array_equal(values[0], np.arange(1, 41))
    np.testing.assert_array_equal(values[1], estimate.log_px[order])

    places, low, high = bars(axes)
    np.testing.assert_array_equal(places, np.arange(1, 41))
    np.testing.assert_array_equal(low, lower)
    np.testing.assert_array_equal(high[reliable], upper[reliable])


def test_the_mean_is_told_with_its_error() -> None:
    estimate = found("Exact")
    axes = axes_of(estimate)
    assert words(axes) == [
        "closed form (40 data)",
        f"mean {estimate.mean:.2f} ± {estimate.std_error:.2f} (over the data)",
    ]
    np.testing.assert_allclose(line(axes, "mean")[1], estimate.mean)
    assert axes.get_title() == "log p(x) by exact"
    assert axes.get_xlabel() == "40 data, sorted by log p(x)"
    assert axes.get_ylabel() == "log p(x), nats"


def some(reliable: list[bool], upper: bool = False) -> pv.AnnealedEstimate:
    """Of as many data, with values -1, -2, ..."""
    size = len(reliable)
    values = -torch.arange(1.0, size + 1, dtype=torch.double)
    log_weights = torch.randn(8, size, dtype=torch.double) / 10 + values
    blind = ~torch.tensor(reliable)
    error, acceptance = torch.full_like(values, 0.1), torch.ones(size)
    plan = found("Annealed").plan
    return pv.AnnealedEstimate(
        values, error, 1.0, 1.0, 0, log_weights, acceptance, plan, "prior", upper, blind
    )


def test_an_open_interval_ends_in_an_arrow() -> None:
    axes = axes_of(some([True, False, True, False]))
    np.testing.assert_array_equal(drawn(axes, BLUE, "o"), [[2, 4], [-3, -1]])
    np.testing.assert_array_equal(drawn(axes, ORANGE, "D"), [[1, 3], [-4, -2]])
    arrows = drawn(axes, ORANGE, "^")
    assert arrows[0].tolist() == [1, 3] and (arrows[1] > [-4, -2]).all()
    assert words(axes)[:2] == ["95% interval (2 data)", "open above, a lower bound (2 data)"]


def test_an_upper_bound_is_open_below() -> None:
    axes = axes_of(some([True, True], upper=True))
    assert (drawn(axes, ORANGE, "v")[1] < [-2, -1]).all()
    assert words(axes)[0] == "open below, an upper bound (2 data)"


def test_what_is_not_finite_is_left_out_and_counted() -> None:
    estimate = some([True] * 4)
    log_px = estimate.log_px.clone()
    log_px[1] = -math.inf
    axes = axes_of(replace(estimate, log_px=log_px))
    assert "1 left out: not finite" in words(axes)
    np.testing.assert_array_equal(drawn(axes, BLUE, "o")[1], [-4, -3, -1])
    with pytest.raises(ValueError, match=r"^result: got no finite log p\(x\), expected some"):
        pv.plot(replace(estimate, log_px=torch.full_like(log_px, math.nan)))


def test_a_caveat_stands_beside_the_figures() -> None:
    axes = axes_of(replace(some([True] * 3), caveat="this is no log p(x)"))
    assert axes.get_title().endswith("\nthis is no log p(x)")


def test_one_datum_has_no_error() -> None:
    assert words(axes_of(some([True])))[-1] == "mean -1.00"


def test_many_data_become_an_image() -> None:
    axes = axes_of(some([True] * 2001))
    assert all(part.get_rasterized() for part in axes.collections)
    assert any(one.get_rasterized() for one in axes.lines)


@pytest.mark.parametrize("reliable", [[True] * 3, [True, False, False]])
def test_rows_of_a_file_are_drawn_like_the_estimate(reliable: list[bool], tmp_path: Path) -> None:
    estimate = some(reliable)
    write_intervals(estimate, tmp_path / "evidence.csv")
    with (tmp_path / "evidence.csv").open() as file:
        rows = list(csv.DictReader(file))
    axes, expected = blank((6.4, 4.0)).add_subplot(), axes_of(estimate)
    interval_plot(rows, axes)
    for colour, marker in ((BLUE, "o"), (ORANGE, "D"), (ORANGE, "^")):
        np.testing.assert_array_equal(drawn(axes, colour, marker), drawn(expected, colour, marker))
    np.testing.assert_array_equal(bars(axes), bars(expected))
    assert words(axes)[1:] == words(expected)[1:]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([], "rows: got no rows"),
        ([{"log_px": "nan"}], r"rows: got no finite log p\(x\)"),
        ([{"log_px": "1", "lower": "a"}], "rows: got 'a' as lower, expected a number"),
    ],
)
def test_rows_without_numbers(rows: list[dict[str, str]], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        interval_plot(rows, blank((1, 1)).add_subplot())


def test_k_hat_is_held_against_its_threshold() -> None:
    estimate = found("Importance")
    khat = torch.linspace(0.1, 0.9, 40, dtype=torch.double)
    khat[5] = math.inf
    estimate = replace(estimate, pareto_k=khat)
    threshold = pareto_threshold(50)

    figure = pv.plot(estimate, "pareto_k")
    axes = figure.axes[0]
    high = khat.isfinite() & (khat > threshold)
    np.testing.assert_array_equal(drawn(axes, ORANGE, "D")[0], high.nonzero().flatten())
    np.testing.assert_array_equal(drawn(axes, ORANGE, "D")[1], khat[high])
    assert len(drawn(axes, BLUE, "o")[0]) == 39 - high.sum()
    told = words(axes)
    assert f"threshold {threshold:.2f} (S = 50)" in told and "1 left out: not finite" in told
    assert f"above the threshold: {high.sum() / 40:.1%} ({high.sum()} data)" in told
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("data, in their order", r"Pareto $\hat{k}$")
    counts = sum(bar.get_width() for bar in axes.child_axes[0].patches)
    assert counts == 39  # in the margin


def test_a_threshold_above_a_half_shows_the_half_too() -> None:
    estimate = replace(found("Importance"), num_particles=5000)
    axes = pv.plot(estimate, "pareto_k").axes[0]
    assert line(axes, "threshold")[1].tolist() == [0.7, 0.7]
    assert line(axes, "finite variance")[1].tolist() == [0.5, 0.5]


def test_without_k_hat_there_is_nothing_to_draw() -> None:
    estimate = replace(found("Importance"), num_particles=10)
    with pytest.raises(ValueError, match="result: got an estimate by 10 particles, expected 25"):
        pv.plot(estimate, "pareto_k")


def test_the_spread_of_log_weights() -> None:
    estimate = found("Annealed")
    axes = pv.plot(estimate, "log_weights").axes[0]
    spread = estimate.log_weights.std(0)
    values = (
        np.concatenate([drawn(axes, *look) for look in ((BLUE, "o"), (ORANGE, "D"))], 1)
        if (spread > 3).any()
        else drawn(axes, BLUE, "o")
    )
    np.testing.assert_allclose(values[1][values[0].argsort()], spread)
    assert line(axes, "threshold")[1].tolist() == [3, 3]
    assert axes.get_ylabel() == "spread of the chains' log-weights (sd), nats"


def test_the_best_says_which_was_chosen() -> None:
    exact, chains = found("Best"), found("Annealed")
    assert list(views(exact)) == ["log_px"]
    part, step = Part.whole(chains), Step(chains.method, 40, 30, 1.0, 2.0)
    best = pv.BestEstimate(
        chains.log_px, chains.log_px_error, 1.0, 1.0, 0, (part,), (step,), "said"
    )
    assert list(views(best)) == ["log_px", "log_weights"]
    axes = axes_of(best)
    assert axes.get_title() == f"log p(x), the best that was tried: {chains.method}"
    np.testing.assert_array_equal(bars(axes), bars(axes_of(chains)))

    twice = replace(best, steps=(Step("importance(S=100)", 40, 10, 1.0, 0.5), step))
    steps = axes_of(twice, "steps")
    widths = [bar.get_width() for bar in steps.patches]
    assert widths == [30, 10, 10, 30]  # from below: vouched for, then those that went on
    assert [text.get_text() for text in steps.texts] == [" 30 of 40, 2 s", " 10 of 40, 0.5 s"]
