"""A sweep in words, as a plot and as a page."""

from __future__ import annotations

import math
from typing import Any

import pytest

import pyro_vae as pv
from pyro_vae.pages.swept import page_of_sweep
from pyro_vae.report.page import render
from pyro_vae.report.plots import views
from pyro_vae.sweeps.plots import axis_of, lines_of
from tests.sweeps.rows import a_sweep

GRID: dict[str, list[Any]] = {"latent_dim": [2, 5, 10], "hidden": [[], [200, 200]], "seed": [0, 1]}


def test_the_words_of_a_sweep() -> None:
    found = a_sweep(GRID, failed=0)
    assert found.headline() == "sweep of 12 cells in runs/latent: 11 done, 1 failed"
    told = dict(found.figures())
    assert told["latent_dim"] == "2, 5, 10" and told["hidden"] == "none, 200x200"
    assert told["highest"].endswith("log p(x) -24.00 +- 0.40 nats per datum")
    assert told["failed"] == "latent_dim=2,hidden=[],seed=0: a disk that is full"

    assert found.summary()["num_done"] == 11 and found.summary()["log_px"] == -24.0
    frame = found.to_dataframe()
    assert frame["latent_dim"].tolist() == [2] * 4 + [5] * 4 + [10] * 4
    assert frame["hidden"].tolist()[1:3] == ["none", "200x200"]
    assert math.isnan(frame["log_px"][0])


def test_many_that_failed_are_told_in_a_dozen_lines() -> None:
    sweep = a_sweep(GRID)
    for row in sweep.rows:
        row |= {"state": "failed", "reason": "as before " * 30}
    assert len(repr(sweep).splitlines()) <= 12 and sweep.highest is None


def test_lines_are_over_what_varies_most_with_the_seeds_together() -> None:
    sweep = a_sweep(GRID, failed=0)
    assert axis_of(sweep) == "latent_dim"
    none, two = lines_of(sweep, "latent_dim", "log_px")
    assert (none.name, two.name) == ("hidden none", "hidden 200x200")
    assert none.at == two.at == [2, 5, 10]
    assert none.values == [[-25.0], [-28.0, -24.0], [-27.0, -28.0]]


def test_lines_are_not_named_by_what_is_the_same_in_all() -> None:
    sweep = a_sweep(GRID)
    for row in sweep.rows:
        if row["hidden"]:
            row |= {"state": "failed"}
    (line,) = lines_of(sweep, "latent_dim", "log_px")
    assert line.name == ""


def test_a_plot_has_a_mean_and_a_bar_for_each_value() -> None:
    axes = pv.plot(a_sweep(GRID, failed=0)).axes[0]
    line = axes.containers[0][0]
    assert line.get_xdata().tolist() == [2, 5, 10]
    assert line.get_ydata().tolist() == [-25.0, -26.0, -27.5]
    bars = axes.containers[0][2][0].get_segments()
    assert bars[1][:, 1].tolist() == [-28.0, -24.0]  # of two seeds 4 apart: +- 4 / 2
    assert axes.get_xlabel() == "latent_dim" and "nats per datum" in axes.get_ylabel()
    told = [text.get_text() for text in axes.get_legend().get_texts()]
    assert told == ["hidden none", "hidden 200x200", "1 left out: cells that are not done"]
    assert "bars: their standard error" in axes.get_title()


@pytest.mark.parametrize(
    ("grid", "over", "scale", "ticks"),
    [
        ({"beta": [0.01, 1.0, 100.0], "seed": [0]}, "beta", "log", ["0.01", "1", "100"]),
        ({"loss": ["Trace_ELBO", "FreeBits"]}, "loss", "linear", ["Trace_ELBO", "FreeBits"]),
        ({"seed": [0, 1, 2]}, "seed", "linear", ["0", "1", "2"]),
        ({"loss": ["a", "b"], "beta": [1.0, 2.0]}, "beta", "linear", ["1", "2"]),
    ],
)
def test_the_axis(grid: dict[str, list[Any]], over: str, scale: str, ticks: list[str]) -> None:
    axes = pv.plot(a_sweep(grid)).axes[0]
    assert axes.get_xlabel() == over and axes.get_xscale() == scale
    assert [text.get_text() for text in axes.get_xticklabels()] == ticks


def test_views_are_of_what_was_measured() -> None:
    sweep = a_sweep(GRID)
    assert list(views(sweep)) == ["log_px", "valid_elbo", "active_units", "seconds"]
    for row in sweep.rows:
        row["log_px"] = math.nan
    assert list(views(sweep)) == ["valid_elbo", "active_units", "seconds"]
    assert sweep.quantity == "valid_elbo"

    for row in sweep.rows:
        row |= {"state": "to do", "valid_elbo": math.nan}
    with pytest.raises(ValueError, match="no finite value of a cell that is done"):
        pv.plot(sweep, "active_units")


def test_the_page_of_a_sweep() -> None:
    text = render(page_of_sweep(a_sweep(GRID, failed=0)))
    assert "the sweep latent" in text and "12 cells, 11 of them done" in text
    assert "Failed: latent_dim=2,hidden=[],seed=0: a disk that is full" in text
    assert "what varies is latent_dim, hidden and seed." in text
    assert text.count("<svg") == 4 and "200x200" in text and "-24.00 +- 0.40" in text
    assert "pyro-vae rank" in text and "standard error" in text


def test_the_page_of_a_sweep_without_a_cell_that_is_done() -> None:
    sweep = a_sweep({"seed": [0]}, failed=0)
    text = render(page_of_sweep(sweep))
    assert "Failed: seed=0: a disk" in text and "<svg" not in text
