"""Chosen data: among simulated ones, among data of their own latents, and where a guide is told
from the posterior.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pyro_vae.diagnostics.local_c2st import LocalTest
from pyro_vae.diagnostics.predictions import Predictions
from pyro_vae.report.plots.marks import MAIN, REST, SECOND, array, legend, title
from pyro_vae.report.plots.view import View, Views, views

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 40


@views.register(Predictions)
def _(found: Predictions) -> Views:
    return {"elbo": View(partial(_elbos, found)), "fit": View(partial(_fits, found))}


@views.register(LocalTest)
def _(found: LocalTest) -> Views:
    return {"data": View(partial(_data, found))}


def _data(found: LocalTest, axes: Axes) -> None:
    """The statistic of each datum, the largest first, and those of classifiers that learned
    nothing.
    """
    order = array(found.statistic).argsort()[::-1]
    places, flagged = np.arange(len(order)), found.flagged.numpy()[order]
    middle, high = np.quantile(array(found.null)[:, order], [0.5, 0.95], axis=0)
    axes.fill_between(places, 0, high, color=REST, alpha=0.25, linewidth=0, step="mid")
    axes.plot(places, middle, drawstyle="steps-mid", color=REST, label="by chance: median, 95%")

    for chosen, colour, marker, word in (
        (~flagged, MAIN, "o", "not told"),
        (flagged, SECOND, "D", "told"),
    ):
        if chosen.any():
            label = f"{int(chosen.sum())} {word} from the posterior"
            axes.plot(
                places[chosen],
                array(found.statistic)[order][chosen],
                marker,
                color=colour,
                ms=4,
                label=label,
            )
    axes.set_ylim(bottom=0)
    axes.set_xlabel("data, sorted")
    axes.set_ylabel("t = mean of (d - 1/2)$^2$")
    part = f"{100 * found.accuracy:.0f} +- {100 * found.accuracy_error:.0f}%"
    title(axes, f"Right for this x? Accuracy over all x {part}")
    legend(axes, "upper right", headroom=True)


def _elbos(found: Predictions, axes: Axes) -> None:
    """ELBOs of the data and of simulated ones."""
    ours, theirs = array(found.elbo), array(found.simulated)
    ends = min(ours.min(), theirs.min()), max(ours.max(), theirs.max())
    edges = np.linspace(*ends, _BINS + 1).tolist()
    names = (f"{len(theirs):,} simulated data", f"these {len(ours):,} data")
    for values, colour, told in zip((theirs, ours), (REST, MAIN), names, strict=True):
        even = np.full(len(values), 1 / len(values))
        axes.hist(values, edges, weights=even, color=colour, alpha=0.55, label=told)

    label: str | None = f"{1 - found.alpha:.0%} of the simulated data"
    for end in np.quantile(theirs, [found.alpha / 2, 1 - found.alpha / 2]):
        axes.axvline(end, color=SECOND, linestyle="--", label=label)
        label = None
    axes.set_xlabel("ELBO, nats per datum")
    axes.set_ylabel("share of the data")
    part = 100 * found.outside.double().mean().item()
    title(axes, f"{part:.1f}% of the data outside, {100 * found.alpha:g}% of a right model's")
    legend(axes, "upper left", headroom=True)


def _fits(found: Predictions, axes: Axes) -> None:
    """How strange each datum is among data of its own latents."""
    edges = np.linspace(0, 1, 21).tolist()
    axes.hist(array(found.fit), edges, color=MAIN, label=f"{len(found.fit):,} data")
    told = f"p = {found.alpha:g}"
    axes.axvline(found.alpha, color=SECOND, linestyle="--", label=told)
    axes.set_xlabel("share of the data of its own latents that are as strange")
    axes.set_ylabel("number of data")
    part = 100 * found.misfits.double().mean().item()
    title(axes, f"Posterior-predictive checks: {part:.1f}% misfit")
    legend(axes, "upper right", headroom=True)
