"""Two-sided bounds of log p(x), real data beside simulated ones, rate against distortion."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pyro_vae.evidence import Curve, Likeness, Sandwich
from pyro_vae.evidence.bidirectional import FAR
from pyro_vae.report.plots.marks import (
    MAIN,
    MANY,
    REST,
    SECOND,
    array,
    error_told,
    finite,
    left_out,
    legend,
    title,
)
from pyro_vae.report.plots.view import View, Views, views
from pyro_vae.results import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_APART = 0.08  # of the axes, between points with a label
_LABELLED = 6  # points of a curve whose beta is told


@views.register(Sandwich)
def _(sandwich: Sandwich) -> Views:
    return {"bounds": View(partial(_bounds, sandwich))}


@views.register(Likeness)
def _(likeness: Likeness) -> Views:
    return {
        "distances": View(partial(_distances, likeness), (6.4, 1.8 + 0.5 * len(likeness.means)))
    }


@views.register(Curve)
def _(curve: Curve) -> Views:
    return {"curve": View(partial(_curve, curve))}


def _bounds(sandwich: Sandwich, axes: Axes) -> None:
    """Lower and upper bound of each simulated datum, sorted by the lower one."""
    lower, upper = array(sandwich.forward.log_px), array(sandwich.reverse.log_px)
    kept, missing = finite("bounds", lower, upper)
    order = np.flatnonzero(kept)[np.argsort(lower[kept], kind="stable")]
    low, high, places = lower[order], upper[order], np.arange(1, len(order) + 1)
    many = len(order) > MANY

    axes.vlines(places, low, high, color=REST, alpha=0.6, rasterized=many)
    sides = ((low, MAIN, "o", "lower, forward"), (high, SECOND, "^", "upper, reverse"))
    for values, colour, marker, word in sides:
        label = f"{word}: mean {values.mean():.2f}"
        axes.plot(places, values, marker, color=colour, ms=3.5, label=label, rasterized=many)

    gap = (
        error_told(sandwich.gap, sandwich.gap_error)
        if not missing
        else f"{(high - low).mean():.2f}"
    )
    axes.plot([], [], "-", color=REST, label=f"width: mean {gap}")
    left_out(axes, missing)
    axes.set(xlabel="simulated data, sorted", ylabel="log p(x), nats")
    title(axes, f"Bounds in expectation, {sandwich.forward.method}")
    legend(axes, "upper left")


def _distances(likeness: Likeness, axes: Axes) -> None:
    """How far real data are from simulated ones in each quantity, in standard deviations."""
    distances = array(list(likeness.distances.values()))
    kept, missing = finite("distances", distances)
    rows = np.arange(len(distances))

    for mine, colour, word in (
        (np.abs(distances) < FAR, MAIN, "alike"),
        (np.abs(distances) >= FAR, SECOND, "not alike"),
    ):
        chosen = kept & mine
        if chosen.any():
            axes.barh(rows[chosen], distances[chosen], color=colour, height=0.5, label=word)
    axes.axvspan(-FAR, FAR, color=REST, alpha=0.2, linewidth=0, label=f"alike within ±{FAR:g}")
    axes.axvline(0.0, color=REST, linewidth=0.8)

    names = []
    for name, (real, made) in likeness.means.items():
        names.append(f"{name}\nreal {real:.2f}\nsimulated {made:.2f}")
    axes.set_yticks(rows, names)
    axes.invert_yaxis()
    left_out(axes, missing)
    axes.set_xlabel("real less simulated, standard deviations over the data")
    title(axes, "Real beside simulated data")
    legend(axes, "upper right", columns=3, headroom=True)


def _curve(curve: Curve, axes: Axes) -> None:
    """Rate against distortion, means over the data, with beta at some of the points."""
    rate, distortion, beta = (
        array(curve.rate.mean(1)),
        array(curve.distortion.mean(1)),
        array(curve.beta),
    )
    kept, missing = finite("rates and distortions", rate, distortion)
    rate, distortion, beta = rate[kept], distortion[kept], beta[kept]

    axes.plot(
        rate, distortion, "o-", color=MAIN, ms=3, label="upper bound of the rate, in expectation"
    )
    for place in _spread(rate, distortion):
        axes.annotate(
            rf"$\beta$ = {beta[place]:.2g}",
            (rate[place], distortion[place]),
            xytext=(6, 4),
            textcoords="offset points",
            fontsize="small",
        )

    left_out(axes, missing)
    told = f"distortion, {curve.unit} per datum"
    axes.set(xlabel="rate, nats per datum", ylabel=told)
    axes.margins(x=0.12, y=0.1)  # room for the last label
    title(
        axes,
        f"Rate and distortion of the decoder, means over {counted(curve.rate.shape[1], 'data')}",
    )
    legend(axes, "upper right")


def _spread(x: np.ndarray, y: np.ndarray) -> list[int]:
    """Points that stand apart along a line, its ends among them."""
    wide = np.stack([x / (np.ptp(x) or 1.0), y / (np.ptp(y) or 1.0)])
    along = np.append(0.0, np.linalg.norm(np.diff(wide, axis=1), axis=0).cumsum())
    asked = np.linspace(0.0, along[-1], min(_LABELLED, len(x)))
    places = [int(np.abs(along - one).argmin()) for one in asked]

    kept: list[int] = []
    for place in (*places[::-1][:1], *places):  # the last first, since it is beta's own end
        apart = np.linalg.norm(wide[:, kept] - wide[:, [place]], axis=0)
        if (apart > _APART).all():
            kept.append(place)
    return sorted(kept)
