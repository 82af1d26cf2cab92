"""Runs side by side: how far each is below the leader."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pyro_vae.diagnostics import Ranking
from pyro_vae.report.plots.marks import MAIN, title
from pyro_vae.report.plots.view import View, Views, views

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@views.register(Ranking)
def _(ranking: Ranking) -> Views:
    height = 1.6 + 0.4 * len(ranking.estimates)
    return {"below": View(partial(_below, ranking), (6.4, height))}


def _below(ranking: Ranking, axes: Axes) -> None:
    """A point for each, with the reach within which the data do not tell it from the leader."""
    axes.plot(0.0, 0, "o", color=MAIN)
    for place, name in enumerate(ranking.others, start=1):
        mean, error = ranking.difference(name)
        fill = MAIN if ranking.is_resolved(name) else "none"
        reach = ranking.quantile * error
        axes.errorbar(
            -mean, place, xerr=reach, fmt="o", color=MAIN, markerfacecolor=fill, capsize=3
        )

    axes.axvline(0.0, color="tab:gray", linewidth=1)
    axes.set_yticks(range(len(ranking.estimates)), list(ranking.estimates))
    axes.invert_yaxis()
    axes.set_xlabel(
        "log p(x) less the leader's, nats per datum (paired, 95%; hollow: not resolved)"
    )
    title(axes, ranking.headline(), "")
