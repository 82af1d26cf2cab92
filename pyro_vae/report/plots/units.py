"""The latent units: how much each says of a datum, and which are used."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pyro_vae.diagnostics.units import THRESHOLD, Units
from pyro_vae.report.plots.marks import (
    MAIN,
    REST,
    array,
    finite,
    left_out,
    legend,
    name_bars,
    title,
)
from pyro_vae.report.plots.view import View, Views, views

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@views.register(Units)
def _(units: Units) -> Views:
    return {
        "rates": View(partial(draw_rates, units)),
        "activity": View(partial(_activity, units)),
    }


def draw_rates(units: Units, axes: Axes) -> None:
    """A bar for each unit, its rate, the highest first; those of active units are coloured."""
    rates, active = array(units.rates), units.active.cpu().numpy()
    kept, missing = finite("rates", rates)
    order = np.flatnonzero(kept)[np.argsort(-rates[kept], kind="stable")]
    places = np.arange(len(order))

    rule = f"variance of its mean over the data > {THRESHOLD:g}"
    for chosen, colour, word in ((True, MAIN, "active"), (False, REST, "not active")):
        mine = active[order] == chosen
        if mine.any():
            told = f"{mine.sum()} {word}" + f": {rule}" * chosen
            axes.bar(places[mine], rates[order][mine], color=colour, label=told)

    left_out(axes, missing)
    axes.set_ylabel("rate, nats per datum")
    axes.set_xlabel("latent units, sorted by rate")
    name_bars(axes, [units.names[unit] for unit in order])
    title(axes, f"Latent units: rate {rates[kept].sum():.2f} nats in all")
    legend(axes, "upper right", headroom=True)


def _activity(units: Units, axes: Axes) -> None:
    """Rate against the variance that decides on activity, a point for each unit."""
    rates, variances = array(units.rates), array(units.variances)
    with np.errstate(invalid="ignore", divide="ignore"):
        kept, missing = finite("units above 0 in both", np.log(rates), np.log(variances))

    active = units.active.cpu().numpy()
    looks = ((active, MAIN, "o", "active"), (~active, REST, "x", "not active"))
    for mine, colour, marker, word in looks:
        chosen = kept & mine
        if chosen.any():
            told = f"{int(mine.sum())} {word}"
            axes.plot(variances[chosen], rates[chosen], marker, color=colour, label=told)

    axes.axvline(THRESHOLD, color=REST, linestyle="--", label=f"threshold {THRESHOLD:g}")
    left_out(axes, missing, "not above 0, or without a mean")
    axes.set(xscale="log", yscale="log", ylabel="rate, nats per datum")
    axes.set_xlabel(r"variance of the unit's mean over the data, $\mathrm{Var}_x\,E_q[z_u|x]$")
    title(axes, f"Latent units: {units.num_active} of {len(units.names)} active")
    legend(axes)
