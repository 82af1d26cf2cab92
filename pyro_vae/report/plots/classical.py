"""Classical inference: the steps that each datum took, and how far each sweep rose."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pyro_vae.inference.coordinate_ascent import Ascent
from pyro_vae.inference.optimum import Optimum
from pyro_vae.report.plots.marks import (
    MAIN,
    REST,
    SECOND,
    array,
    finite,
    left_out,
    legend,
    title,
    whole_numbers,
)
from pyro_vae.report.plots.view import View, Views, views
from pyro_vae.results import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FEW = 30  # sweeps up to which each is marked


@views.register(Optimum)
def _(optimum: Optimum[Any]) -> Views:
    return {"steps": View(partial(_steps, optimum))}


@views.register(Ascent)
def _(ascent: Ascent[Any]) -> Views:
    return {"elbo": View(partial(_sweeps, ascent))}


def _steps(optimum: Optimum[Any], axes: Axes) -> None:
    """A histogram over the data, of those that converged and of those that did not."""
    steps = array(optimum.num_steps)
    kept, missing = finite("numbers of steps", steps)
    known = optimum.converged is not None
    converged = optimum.converged.cpu().numpy() if optimum.converged is not None else kept

    word = "converged" if known else "not known whether they converged"
    parts = ((kept & converged, MAIN, word), (kept & ~converged, SECOND, "not converged"))
    shown = [
        (steps[mine], colour, f"{counted(int(mine.sum()), 'data')} {word}")
        for mine, colour, word in parts
    ]
    values, colours, labels = zip(*(part for part in shown if len(part[0])), strict=True)
    edges = np.histogram_bin_edges(steps[kept], bins=min(40, max(1, int(np.ptp(steps[kept])))))
    axes.hist(values, bins=edges.tolist(), color=colours, label=labels, stacked=True)

    median = float(np.median(steps[kept]))
    axes.axvline(median, color=REST, linestyle="--", label=f"median {median:,.0f} steps")
    left_out(axes, missing)
    axes.set(xlabel="steps until convergence" if known else "steps", ylabel="data")
    axes.locator_params("y", integer=True)
    title(axes, optimum.headline())
    legend(axes, "upper right", headroom=True)


def _sweeps(ascent: Ascent[Any], axes: Axes) -> None:
    """The ELBO before the first sweep and after each."""
    elbo = array(ascent.columns()["elbo"])
    kept, missing = finite("ELBO", elbo)
    sweeps = np.arange(len(elbo))[kept]

    marker = "o" if len(elbo) <= _FEW else None
    label = f"{elbo[kept][-1]:.3f} at the end, " + (
        "converged" if ascent.converged else "NOT converged"
    )
    axes.plot(sweeps, elbo[kept], color=MAIN, marker=marker, ms=3, label=label)
    left_out(axes, missing)
    unit = "nats per datum" if ascent.elbos.dim() > 1 else "nats, all data together"
    axes.set(xlabel="sweeps", ylabel=f"ELBO, {unit}")
    whole_numbers(axes)
    title(axes, ascent.headline())
    legend(axes, "lower right")
