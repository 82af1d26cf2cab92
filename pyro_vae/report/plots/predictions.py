"""Chosen data among simulated ones, and among data of their own latents."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pyro_vae.diagnostics.predictions import Predictions
from pyro_vae.report.plots.marks import MAIN, REST, SECOND, array, legend, title
from pyro_vae.report.plots.view import View, Views, views

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 40


@views.register(Predictions)
def _(found: Predictions) -> Views:
    return {"elbo": View(partial(_elbos, found)), "fit": View(partial(_fits, found))}


def _elbos(found: Predictions, axes: Axes) -> None:
    """ELBOs of the data and of simulated ones."""
    ours, theirs = array(found.elbo), array(found.simulated)
    edges = np.linspace(min(ours.min(), theirs.min()), max(ours.max(), theirs.max()), _BINS + 1)
    for values, colour, name in ((theirs, REST, "simulated"), (ours, MAIN, "these")):
        told = f"{len(values):,} {name} data"
        even = np.full(len(values), 1 / len(values))
        axes.hist(values, edges, weights=even, color=colour, alpha=0.55, label=told)

    ends = np.quantile(theirs, [found.alpha / 2, 1 - found.alpha / 2])
    for place, end in enumerate(ends):
        told = None if place else f"{1 - found.alpha:.0%} of the simulated data"
        axes.axvline(end, color=SECOND, linestyle="--", label=told)
    axes.set_xlabel("ELBO, nats per datum")
    axes.set_ylabel("share of the data")
    part = 100 * found.outside.double().mean().item()
    title(axes, f"{part:.1f}% of the data outside, {100 * found.alpha:g}% of a right model's")
    legend(axes, "upper left", headroom=True)


def _fits(found: Predictions, axes: Axes) -> None:
    """How strange each datum is among data of its own latents."""
    edges = np.linspace(0, 1, 21)
    axes.hist(array(found.fit), edges, color=MAIN, label=f"{len(found.fit):,} data")
    told = f"p = {found.alpha:g}"
    axes.axvline(found.alpha, color=SECOND, linestyle="--", label=told)
    axes.set_xlabel("share of the data of its own latents that are as strange")
    axes.set_ylabel("number of data")
    part = 100 * found.misfits.double().mean().item()
    title(axes, f"Posterior-predictive checks: {part:.1f}% misfit")
    legend(axes, "upper left", headroom=True)
