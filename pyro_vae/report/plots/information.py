"""Information of the latent: bounds from both sides, and each datum's rate against it."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from pyro_vae.diagnostics import Information
from pyro_vae.report.plots.marks import (
    MAIN,
    MANY,
    RATE,
    REST,
    SECOND,
    array,
    error_told,
    finite,
    left_out,
    legend,
    title,
    weight,
)
from pyro_vae.report.plots.view import View, Views, views
from pyro_vae.results import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NORMAL = 1.96  # standard errors of a 95% interval


@views.register(Information)
def _(information: Information) -> Views:
    return {
        "bounds": View(partial(_bounds, information), (6.8, 3.4)),
        "data": View(partial(_data, information)),
    }


def _bounds(information: Information, axes: Axes) -> None:
    """A point for each mean with its 95%, between which I_q lies, and what is left of the rate."""
    marginal = "KL(q(z) || p(z))" + ("" if information.is_whole else ",\nat most")
    rows = (
        ("I_q(x; z) is at least", information.lower, MAIN, "o"),
        ("at most, by the\nother data", information.upper, SECOND, "^"),
        ("at most, by the\nprior: the rate", information.rate, RATE, "s"),
        (marginal, information.marginal, REST, "D"),
    )
    for place, (_, values, colour, marker) in enumerate(rows):
        mean, error = values.mean().item(), information.error(values)
        if not math.isfinite(mean):
            axes.plot([], [], marker, color=colour, label="not finite")
            continue
        reach = _NORMAL * error if math.isfinite(error) else 0.0
        axes.errorbar(mean, place, xerr=reach, fmt=marker, color=colour, capsize=3)
        axes.annotate(
            error_told(mean, error),
            (mean, place),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize="small",
        )

    size = information.batch_size
    limit = math.log(size)
    label = f"log {size:,} = {limit:.2f}, the most that the lower bound can be"
    axes.axvline(limit, color=REST, linestyle="--", label=label)

    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.set_ylim(len(rows) - 0.5, -1.3)
    axes.margins(x=0.15)
    axes.set_xlabel("nats per datum, with 95% over the data")
    title(axes, f"What the latent says of {counted(len(information.batch), 'data')}")
    legend(axes, "upper center")


def _data(information: Information, axes: Axes) -> None:
    """How much of each datum's rate tells it from the others of its batch."""
    rate, lower = array(information.rate.mean(0)), array(information.lower.mean(0))
    kept, missing = finite("rates and bounds", rate, lower)
    size = information.batch_size

    axes.plot(
        rate[kept],
        lower[kept],
        "o",
        color=MAIN,
        ms=weight(int(kept.sum()), 4.0),
        alpha=0.6,
        label="a datum",
        rasterized=int(kept.sum()) > MANY,
    )
    limit = math.log(size)
    axes.axhline(limit, color=REST, linestyle="--", label=f"log {size:,} = {limit:.2f}")
    low, high = rate[kept].min(), rate[kept].max()
    axes.plot([low, min(high, limit)], [low, min(high, limit)], ":", color=REST, label="the rate")

    left_out(axes, missing)
    axes.set_xlabel("rate, log q(z|x) - log p(z), nats")
    axes.set_ylabel("log q(z|x) - log q(z), nats")
    title(axes, f"Information and rate of {counted(len(rate), 'data')}")
    legend(axes, "upper left", columns=3, headroom=True)
