"""Calibration: ranks of the truth against uniform ones, and coverage against what it should be, by
regions of the highest density and by balls around random points.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pyro_vae.diagnostics.coverage import Coverage
from pyro_vae.diagnostics.ranks import Calibration
from pyro_vae.report.plots.marks import MAIN, REST, array, legend, looks, title
from pyro_vae.report.plots.view import View, Views, views

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAMED = 6  # quantities that deviate, up to which each has a colour and a name
_NORMAL = 1.96  # standard errors of a 95% interval


@views.register(Calibration)
def _(calibration: Calibration) -> Views:
    return {
        "ranks": View(partial(_ranks, calibration)),
        "coverage": View(partial(_coverage, calibration), (4.8, 4.4)),
    }


@views.register(Coverage)
def _(coverage: Coverage) -> Views:
    return {"coverage": View(partial(_balls, coverage), (4.8, 4.4))}


def _ranks(calibration: Calibration, axes: Axes) -> None:
    """How far the ECDF of each quantity's ranks is above that of uniform ones, and the band."""
    size = calibration.num_draws + 1
    places = np.arange(size + 1) / size
    lower, upper = (np.append(0.0, array(end)) - places for end in calibration.band())
    level = 1 - calibration.alpha / len(calibration.ranks)
    axes.fill_between(
        places, lower, upper, color=REST, alpha=0.25, linewidth=0, label=f"{level:.1%} band"
    )

    differences = {}
    for name in calibration.ranks:
        differences[name] = np.append(0.0, array(calibration.ecdf(name))) - places
    flagged = calibration.flagged
    calm = [name for name in differences if name not in flagged]
    for place, name in enumerate(calm):
        label = None if place else f"{len(calm)} within it"
        axes.plot(places, differences[name], color=MAIN, linewidth=0.9, alpha=0.7, label=label)

    for name, colour, style, _ in looks(flagged[:_NAMED]):
        label = f"{name} ({_chance(calibration.p_values[name])})"
        axes.plot(places, differences[name], color=colour, linestyle=style, label=label)
    for place, name in enumerate(flagged[_NAMED:]):
        label = None if place else f"{len(flagged) - _NAMED} more that deviate"
        axes.plot(places, differences[name], color=REST, linewidth=0.9, label=label)

    axes.set_xlabel(f"rank of the truth among {calibration.num_draws} draws, as a share of them")
    axes.set_ylabel("ECDF less that of uniform ranks")
    made = f"{calibration.num_simulations:,} simulations"
    state = "calibrated" if calibration.calibrated else "miscalibrated"
    title(axes, f"Ranks of the truth, {made}: {state}")
    legend(axes, "upper left", columns=2, headroom=True)


def _chance(p: float) -> str:
    return "p < 1e-4" if p < 1e-4 else f"p = {p:.1g}"


def _coverage(calibration: Calibration, axes: Axes) -> None:
    """Coverage of the highest-density regions against their level."""
    _against(calibration, axes)
    axes.set_xlabel("level of the guide's highest-density region")
    axes.set_ylabel("share of the truths in it")
    title(axes, f"Expected coverage, {calibration.num_simulations:,} simulations")
    legend(axes, "upper left")


def _balls(coverage: Coverage, axes: Axes) -> None:
    """Coverage of balls around random points against the share of the guide in them, and the
    band of a right guide.
    """
    places = np.arange(coverage.num_draws + 2) / (coverage.num_draws + 1)
    lower, upper = (np.append(0.0, array(end)) for end in coverage.band())
    told = f"{1 - coverage.alpha:.0%} band of a right guide"
    axes.fill_between(places, lower, upper, color=REST, alpha=0.25, linewidth=0, label=told)

    held = np.append(0.0, array(coverage.ecdf()))
    axes.plot(places, held, color=MAIN, label="this guide")
    axes.set_xlabel("share of the guide in a ball around a random point")
    axes.set_ylabel("share of the truths in it")
    state = "covers" if coverage.covers else "does not cover"
    title(axes, f"Coverage, {coverage.num_simulations:,} simulations: {state}")
    legend(axes, "upper left")


def _against(calibration: Calibration, axes: Axes) -> None:
    """Coverage at levels from 0 to 1, and its error."""
    levels = np.linspace(0.0, 1.0, 21)[1:-1]
    held, error = map(array, calibration.coverage(levels.tolist()))
    reach = _NORMAL * error

    axes.plot([0, 1], [0, 1], "--", color=REST, label="a right guide")
    axes.plot(levels, held, "o-", color=MAIN, ms=3, label="this guide")
    axes.fill_between(
        levels,
        (held - reach).clip(0, 1),
        (held + reach).clip(0, 1),
        color=MAIN,
        alpha=0.25,
        linewidth=0,
        label="95%, at each level by itself",
    )
