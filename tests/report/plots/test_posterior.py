"""Posteriors: contours hold what they say, pairs are the draws, units are those of the result."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import pyro_vae as pv
from tests.found import RESULTS
from tests.report.plots.reading import axes_of, drawn, line, words


def found(name: str) -> Any:
    return RESULTS[name][0]()


def normal_grid(shift: float) -> pv.PosteriorGrid:
    """A standard normal posterior, and a guide beside it."""
    values = torch.linspace(-6, 6 + shift, 201, dtype=torch.double)
    points = torch.stack(torch.meshgrid(values, values, indexing="ij"), -1)
    norm = math.log(2 * math.pi)
    exact = -points.square().sum(-1) / 2 - norm
    away = -(points - torch.tensor([shift, 0.0])).square().sum(-1) / 2 - norm
    nowhere = torch.full_like(away, -math.inf)
    return pv.PosteriorGrid(
        ("a", "b"), (values, values), exact, {"away": away, "gone": nowhere}, -3.0, 1e-6
    )


def test_contours_are_the_borders_of_what_they_hold() -> None:
    axes = axes_of(normal_grid(2.0))
    filled, guide = axes.collections
    # of a standard normal in two dimensions P(r < R) = 1 - exp(-R^2 / 2)
    radii = np.sqrt(-2 * np.log1p(-np.array([0.99, 0.9, 0.5])))
    for path, radius in zip(guide.get_paths(), radii, strict=True):
        away = np.linalg.norm(path.vertices - [2.0, 0.0], axis=1)
        np.testing.assert_allclose(away, radius, rtol=0.03)
    outer = np.linalg.norm(filled.get_paths()[0].vertices, axis=1)
    assert outer.max() == pytest.approx(radii[0], rel=0.03)

    assert words(axes) == [
        "posterior, exact",
        "away: KL 2 nats",
        "1 left out: guides without a density here",
    ]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("$z_1$", "$z_2$")
    assert -5 < axes.get_xlim()[0] < -3.5 and 5.5 < axes.get_xlim()[1] < 7


def test_a_posterior_that_is_nowhere_is_refused() -> None:
    grid = normal_grid(0.0)
    gone = pv.PosteriorGrid(grid.names, grid.axes, grid.guides["gone"], {}, 0.0, 0.0)
    with pytest.raises(ValueError, match=r"result: got no finite log p\(z \| x\)"):
        pv.plot(gone)


def panels(figure: Any) -> dict[tuple[int, int], Any]:
    size = math.isqrt(len(figure.axes))
    return {divmod(place, size): axes for place, axes in enumerate(figure.axes)}


def test_pairs_of_guides_beside_nuts() -> None:
    draws = {"nuts": torch.randn(60, 3), "one": torch.randn(40, 3)}
    draws["one"][7, 1] = math.nan
    result = pv.PosteriorPairs(("a", "b", "c"), draws["nuts"], {"one": draws["one"]}, 4, "fine")
    figure = pv.plot(result)
    grid = panels(figure)
    for row, place in ((1, 0), (2, 0), (2, 1)):
        truth = drawn(grid[row, place], "tab:blue", "o")
        np.testing.assert_array_equal(truth, draws["nuts"][:, [place, row]].T)
        kept = [number for number in range(40) if number != 7]
        guide = drawn(grid[row, place], "tab:orange", "s")
        np.testing.assert_array_equal(guide, draws["one"][kept][:, [place, row]].T)

    assert words(grid[0, 2]) == ["NUTS", "one", "1 left out: not finite"]
    assert [grid[2, place].get_xlabel() for place in range(3)] == ["a", "b", "c"]
    assert [grid[row, 0].get_ylabel() for row in range(3)] == ["density", "b", "c"]
    assert not grid[0, 1].axison
    assert figure.get_suptitle() == "Posterior of datum 4: guides beside NUTS"


def test_a_reference_shows_the_narrowest_units_of_its_first_datum() -> None:
    draws = torch.randn(2, 1500, 3, 6) * torch.tensor([3.0, 1.0, 4.0, 0.5, 2.0, 5.0])
    healthy = torch.ones(3, 6)
    result = pv.Reference({"z": draws}, {"z": healthy}, {"z": 3000 * healthy}, 0, 0.0)
    figure = pv.plot(result)
    grid = panels(figure)
    assert len(grid) == 16
    names = [grid[3, place].get_xlabel() for place in range(4)]
    assert names == ["z[0, 3]", "z[0, 1]", "z[0, 4]", "z[0, 0]"]
    (cloud,) = grid[1, 0].lines
    np.testing.assert_allclose(cloud.get_data(), draws[:, :, 0, [3, 1]].flatten(0, 1).T)
    assert cloud.get_rasterized()
    assert figure.get_suptitle() == "3,000 draws by NUTS, converged"


def test_a_reference_of_one_unit_is_a_histogram() -> None:
    one = {"z": torch.ones(2)}
    figure = pv.plot(pv.Reference({"z": torch.randn(2, 50, 2)}, one, one, 0, 0.0))
    (axes,) = figure.axes
    assert axes.get_xlabel() == "z[0]" and words(axes) == ["NUTS"]
    assert figure.get_suptitle() == "100 draws by NUTS, NOT converged"


def test_shifts_and_ratios_of_the_units() -> None:
    result = found("Agreement")
    shift, error = result.shift["latent"].flatten(), result.shift_error["latent"].flatten()
    axes = axes_of(result, "shift")
    (points, _, (bars,)) = axes.containers[0].lines
    np.testing.assert_allclose(points.get_data(), [np.arange(6), shift])
    ends = np.array(bars.get_segments())[:, :, 1]
    np.testing.assert_allclose(ends.T, [shift - 2 * error, shift + 2 * error])
    assert axes.get_xlabel() == "units of all data: latent (2, 3)"
    assert axes.get_ylabel() == "shift of the mean, sd of the posterior"

    ratio = result.ratio["latent"].flatten()
    axes = axes_of(result, "ratio")
    for colour, marker, mine in (("tab:blue", "o", ratio >= 1), ("tab:orange", "D", ratio < 1)):
        if mine.any():
            points = drawn(axes, colour, marker)
            np.testing.assert_array_equal(points[0], mine.nonzero().flatten())
            np.testing.assert_array_equal(points[1], ratio[mine])
    assert line(axes, "the posterior's sd")[1].tolist() == [1, 1]
    assert f"{result.mean_ratio:.2f} of the posterior's" in axes.get_title()


def test_shifts_that_are_not_finite() -> None:
    shift = {"z": torch.tensor([0.5, math.nan])}
    errors = {"z": torch.tensor([0.1, 0.1])}
    axes = axes_of(pv.Agreement(shift, errors, errors))
    assert "1 left out: not finite" in words(axes)
