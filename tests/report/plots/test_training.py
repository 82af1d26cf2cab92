"""Learning curves, of runs and of the rows of a metrics.csv, and latent units."""

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
from pyro_vae.inference.record import write_metrics
from pyro_vae.report.plots import blank, learning_curve, rate_curve
from tests.found import run
from tests.report.plots.reading import axes_of, drawn, line, words


def row(epoch: int, **changes: float) -> dict[str, float]:
    metrics = {"train_loss": 90.0 - epoch, "valid_elbo": epoch - 95.0, "valid_rate": 2.0 + epoch}
    return {"epoch": epoch, "valid_distortion": 80.0 - epoch, "beta": 1.0} | metrics | changes


HISTORY = [row(1, beta=0.3), row(2, beta=0.8), *map(row, range(3, 7))]


def empty() -> Any:
    return blank((6.4, 4.0)).add_subplot()


def test_a_run_s_elbo_is_its_history() -> None:
    found = replace(run(), history=HISTORY, epoch=5, loss_is_elbo=True)
    axes = axes_of(found)
    np.testing.assert_array_equal(
        line(axes, "validation ELBO"), [[1, 2, 3, 4, 5, 6], [-94, -93, -92, -91, -90, -89]]
    )
    train = line(axes, "train ELBO")
    np.testing.assert_array_equal(train[1], [math.nan, math.nan, -87, -86, -85, -84])
    rising = line(axes, "minus train loss while")
    np.testing.assert_array_equal(rising[1][:3], [-89, -88, -87])
    np.testing.assert_array_equal(line(axes, "kept"), [[5], [-90]])
    assert "kept: epoch 5, -90.00 nats" in words(axes)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "ELBO, nats per datum")


def test_a_loss_that_is_no_elbo_is_not_called_so() -> None:
    axes = axes_of(replace(run(), history=HISTORY, epoch=6, loss_is_elbo=False))
    assert words(axes)[0] == "minus train loss (not the ELBO)"
    assert axes.get_ylabel() == "nats per datum"
    np.testing.assert_array_equal(line(axes, "minus train loss")[1], [-89, -88, -87, -86, -85, -84])


def test_rate_and_distortion_of_a_run() -> None:
    found = replace(run(), history=HISTORY, epoch=2)
    axes = axes_of(found, "rate")
    np.testing.assert_array_equal(line(axes, "rate")[1], [3, 4, 5, 6, 7, 8])
    np.testing.assert_array_equal(line(axes, "distortion")[1], [79, 78, 77, 76, 75, 74])
    assert words(axes)[-1] == "kept: epoch 2, rate 4.00 nats"
    assert axes.get_ylabel() == "validation data, nats per datum"

    with pytest.raises(ValueError, match="view: got 'rate'"):
        pv.plot(replace(found, data=replace(found.data, valid=None)), "rate")
    with pytest.raises(ValueError, match="view: got 'units'"):
        pv.plot(replace(found, units=None), "units")


def test_rows_of_a_file_are_drawn_as_they_are(tmp_path: Path) -> None:
    history = [HISTORY[0] | {"valid_elbo": math.nan, "train_loss": math.inf}, *HISTORY[1:]]
    write_metrics(tmp_path / "metrics.csv", history)
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))

    axes = empty()
    learning_curve(rows, axes, kept=4)
    assert words(axes) == [
        "minus train loss",
        "validation ELBO",
        "2 left out: not finite",
        "kept: epoch 4, -91.00 nats",
    ]
    np.testing.assert_array_equal(line(axes, "validation ELBO")[1][1:], [-93, -92, -91, -90, -89])
    assert math.isnan(line(axes, "validation ELBO")[1][0])

    axes = empty()
    rate_curve(rows, axes)
    np.testing.assert_array_equal(line(axes, "rate")[1], [3, 4, 5, 6, 7, 8])


def test_without_validation_the_train_loss_is_drawn_alone() -> None:
    history = [one | {"valid_elbo": math.nan} for one in HISTORY]
    axes = empty()
    learning_curve(history, axes, kept=3, loss_is_elbo=True)
    assert "validation ELBO" not in words(axes) and "kept: epoch 3, -87.00 nats" in words(axes)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([], "history: got no rows"),
        ([{"epoch": 1}], "history: got no finite loss or ELBO"),
        (
            [{"epoch": 1, "train_loss": "<b>"}],
            "history: got '<b>' as train_loss, expected a number",
        ),
    ],
)
def test_a_history_without_numbers(rows: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        learning_curve(rows, empty())


def units() -> pv.Units:
    rates = torch.tensor([0.2, 3.0, 0.001, math.nan, 1.5])
    return pv.Units(
        tuple("abcde"), rates, torch.tensor([0.1, 0.9, 0.002, 0.5, math.nan], dtype=torch.double)
    )


def test_bars_of_units_are_sorted_and_the_active_ones_apart() -> None:
    axes = axes_of(units())
    heights = sorted((bar.get_x(), bar.get_height()) for bar in axes.patches)
    np.testing.assert_allclose([height for _, height in heights], [3.0, 1.5, 0.2, 0.001])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["b", "e", "a", "c"]
    assert words(axes) == [
        "1 left out: not finite",
        "3 active: variance of its mean over the data > 0.01",
        "1 not active",
    ]
    colours = {bar.get_facecolor() for bar in axes.patches if bar.get_height() > 0.1}
    assert len(colours) == 1 and axes.patches[-1].get_facecolor() not in colours
    assert axes.get_ylabel() == "rate, nats per datum"
    assert axes.get_title() == "Latent units: rate 4.70 nats in all"


def test_many_units_are_not_named() -> None:
    many = pv.Units(tuple(map(str, range(50))), torch.rand(50), torch.rand(50))
    axes = axes_of(many)
    assert axes.get_xlabel() == "latent units, sorted by rate" and len(axes.patches) == 50


def test_activity_is_against_its_threshold() -> None:
    axes = axes_of(units(), "activity")
    np.testing.assert_allclose(drawn(axes, "tab:blue", "o"), [[0.1, 0.9], [0.2, 3.0]])
    np.testing.assert_allclose(drawn(axes, "tab:gray", "x"), [[0.002], [0.001]])
    np.testing.assert_array_equal(line(axes, "threshold 0.01")[0], [0.01, 0.01])
    assert "2 left out: not above 0, or without a mean" in words(axes)


def test_units_without_a_rate() -> None:
    none = torch.full((2,), math.nan)
    with pytest.raises(ValueError, match="result: got no finite rates"):
        pv.plot(pv.Units(("a", "b"), none, none))
