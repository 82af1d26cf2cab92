"""Estimates of log p(x): their intervals, and the health of the weights behind them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from pyro_vae.evidence import (
    AnnealedEstimate,
    BestEstimate,
    Estimate,
    ImportanceEstimate,
    IntegratedEstimate,
)
from pyro_vae.evidence.annealed_estimate import WIDEST
from pyro_vae.evidence.weights import MIN_PARTICLES, pareto_threshold
from pyro_vae.report.plots.marks import (
    MAIN,
    MANY,
    REST,
    SECOND,
    Array,
    array,
    check_rows_of,
    column,
    error_told,
    finite,
    left_out,
    legend,
    title,
    weight,
    whole_numbers,
)
from pyro_vae.report.plots.view import View, Views, check_axes, views
from pyro_vae.results import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STUB = 0.05  # of the height: what an open end is longer than the datum's own values
_FINITE_VARIANCE = 0.5  # k-hat up to which weights have one


@views.register(Estimate)
def _(estimate: Estimate) -> Views:
    return {"log_px": _values(estimate, f"log p(x) by {estimate.method}")}


@views.register(ImportanceEstimate)
def _(estimate: ImportanceEstimate) -> Views:
    first = _values(estimate, f"log p(x) by {estimate.method}")
    return {"log_px": first, "pareto_k": View(partial(_pareto_k, estimate))}


@views.register(AnnealedEstimate)
def _(estimate: AnnealedEstimate) -> Views:
    first = _values(estimate, f"log p(x) by {estimate.method}")
    return {"log_px": first, "log_weights": View(partial(_log_weights, estimate))}


@views.register(BestEstimate)
def _(estimate: BestEstimate) -> Views:
    text = f"log p(x), the best that was tried: {estimate.method}"
    own = views(estimate.chosen) if estimate.chosen is not None else {}
    steps = {"steps": View(partial(_steps, estimate))} if len(estimate.steps) > 1 else {}
    return {**own, "log_px": _values(estimate, text), **steps}


def _values(estimate: Estimate, text: str) -> View:
    return View(partial(_log_px, estimate, text))


def _log_px(estimate: Estimate, text: str, axes: Axes) -> None:
    lower, upper = map(array, estimate.interval())
    source = estimate.chosen if isinstance(estimate, BestEstimate) else estimate
    word = "95% interval"
    if isinstance(source, IntegratedEstimate):
        word = "discretisation error" if source.num_points else "closed form"
    draw_intervals(axes, array(estimate.log_px), lower, upper, word)
    title(axes, text, estimate.caveat)


def interval_plot(rows: Sequence[Mapping[str, Any]], axes: Axes) -> None:
    """Draw log p(x) of each datum with its interval, sorted, from the rows of evidence.csv.

    Args:
        rows: with `log_px`, `lower` and `upper`, as `csv.DictReader` reads them, infinite ends
            included.
        axes: to draw into.

    Raises:
        ValueError: rows without a number to draw.
    """
    check_rows_of("rows", rows, "datum")
    check_axes("axes", axes)
    log_px, lower, upper = (column(rows, name, "rows") for name in ("log_px", "lower", "upper"))
    finite("log p(x)", log_px, argument="rows")
    draw_intervals(axes, log_px, lower, upper)


def draw_intervals(
    axes: Axes, log_px: Array, lower: Array, upper: Array, word: str = "interval"
) -> None:
    """Values `(N,)` in nats, sorted, with their intervals; open ones as arrows."""
    kept, missing = finite("log p(x)", log_px)
    order = np.flatnonzero(kept)[np.argsort(log_px[kept], kind="stable")]
    value, low, high = log_px[order], lower[order], upper[order]
    places, many = np.arange(1, len(order) + 1), len(order) > MANY

    ends = np.concatenate([end[np.isfinite(end)] for end in (value, low, high)])
    stub = _STUB * (np.ptp(ends) or 1.0)
    above, below = ~np.isfinite(high), ~np.isfinite(low)
    drawn = np.where(below, value - stub, low), np.where(above, value + stub, high)

    for mine, colour in ((~(above | below), MAIN), (above | below, SECOND)):
        bars = (drawn[0][mine], drawn[1][mine])
        width = weight(len(order), 1.5)
        axes.vlines(places[mine], *bars, color=colour, alpha=0.5, linewidth=width, rasterized=many)
    closed, size = ~(above | below), weight(len(order), 3.0)
    for mine, colour, marker in ((closed, MAIN, "o"), (~closed, SECOND, "D")):
        axes.plot(places[mine], value[mine], marker, color=colour, ms=size, rasterized=many)

    _arrows(axes, places[above], drawn[1][above], "^", many)
    _arrows(axes, places[below], drawn[0][below], "v", many)
    _interval_words(axes, closed, above, below, word)

    number = len(value)
    mean, error = value.mean(), value.std(ddof=1) / math.sqrt(number) if number > 1 else math.nan
    over = " (over the data)" if number > 1 else ""
    label = f"mean {error_told(mean, error)}{over}"
    axes.axhline(mean, color=REST, linestyle="--", label=label)
    left_out(axes, missing)
    axes.set(xlabel=f"{counted(number, 'data')}, sorted by log p(x)", ylabel="log p(x), nats")
    whole_numbers(axes)
    legend(axes, "lower right")


def _arrows(axes: Axes, places: Array, ends: Array, marker: str, many: bool) -> None:
    axes.plot(places, ends, marker, color=SECOND, ms=weight(len(places) or 1, 4.0), rasterized=many)


def _interval_words(axes: Axes, closed: Array, above: Array, below: Array, word: str) -> None:
    """Entries of the legend, for what there is of each kind."""
    if closed.any():
        axes.plot([], [], "o-", color=MAIN, ms=4, label=f"{word} ({_data(closed)})")
    told = (
        (above & ~below, "D-", "open above, a lower bound"),
        (below & ~above, "D-", "open below, an upper bound"),
        (above & below, "D-", "open on both sides, no interval"),
    )
    for mine, look, what in told:
        if mine.any():
            axes.plot([], [], look, color=SECOND, ms=4, label=f"{what} ({_data(mine)})")


def _data(mine: Array) -> str:
    return counted(int(mine.sum()), "data")


def _pareto_k(estimate: ImportanceEstimate, axes: Axes) -> None:
    """k-hat of each datum's weights, in the order of the data, with the thresholds."""
    size, threshold = estimate.num_particles, pareto_threshold(estimate.num_particles)
    if math.isnan(threshold):
        raise ValueError(
            f"result: got an estimate by {size} particles, expected {MIN_PARTICLES} or more: with"
            " fewer there is no k-hat to draw"
        )
    limits = {threshold: f"threshold {threshold:.2f} (S = {size:,})"}
    if threshold > _FINITE_VARIANCE:
        limits[_FINITE_VARIANCE] = f"finite variance below {_FINITE_VARIANCE:g}"

    _against(axes, array(estimate.pareto_k), limits, r"Pareto $\hat{k}$")
    title(axes, f"Tails of the weights, {estimate.method}", estimate.caveat)


def _log_weights(estimate: AnnealedEstimate, axes: Axes) -> None:
    """Standard deviation of each datum's log-weights over the chains, with the threshold."""
    spread = array(estimate.log_weights.std(0))
    limits = {WIDEST: f"threshold: {WIDEST:g} nats"}
    _against(axes, spread, limits, "spread of the chains' log-weights (sd), nats")
    title(axes, f"Weights of {estimate.method}", estimate.caveat)


def _against(axes: Axes, values: Array, limits: Mapping[float, str], label: str) -> None:
    """Values of the data in their order, those above the first of the limits in another colour, and
    how they are distributed.
    """
    kept, missing = finite(label, values)
    places, values = np.arange(len(values))[kept], values[kept]
    high, many = values > next(iter(limits)), len(values) > MANY

    for mine, colour, marker, word in ((~high, MAIN, "o", "below"), (high, SECOND, "D", "above")):
        if mine.any():
            share = f"{mine.sum() / (len(values) + missing):.1%}"
            told = f"{word} the threshold: {share} ({_data(mine)})"
            look: dict[str, Any] = {
                "color": colour,
                "ms": weight(len(values), 3.0),
                "rasterized": many,
            }
            axes.plot(places[mine], values[mine], marker, **look)
            axes.plot([], [], marker, color=colour, ms=4, label=told)
    for (limit, told), style in zip(limits.items(), ("--", ":"), strict=False):
        axes.axhline(limit, color=REST, linestyle=style, label=told)

    left_out(axes, missing)
    axes.set(xlabel="data, in their order", ylabel=label)
    whole_numbers(axes)
    legend(axes, "upper left", columns=2, headroom=True)
    side = axes.inset_axes((1.01, 0, 0.12, 1), sharey=axes)
    side.hist(values, bins=30, orientation="horizontal", color=REST)
    side.axis("off")


def _steps(estimate: BestEstimate, axes: Axes) -> None:
    """Of each step of the ladder, for how many of its data it vouched, and how many went on."""
    steps = estimate.steps[::-1]
    places = np.arange(len(steps))
    vouched = np.array([step.num_vouched for step in steps])
    others = np.array([step.num_data - step.num_vouched for step in steps])

    axes.barh(places, vouched, color=MAIN, label="vouched for, at an error that is small enough")
    axes.barh(places, others, left=vouched, color=REST, alpha=0.4, label="on to the next step")
    for place, step in enumerate(steps):
        told = f" {step.num_vouched:,} of {step.num_data:,}, {step.seconds:.3g} s"
        axes.text(step.num_data, place, told, va="center")

    most = max(step.num_data for step in steps)
    axes.set(xlabel="data", xlim=(0, 1.6 * most))
    axes.set_yticks(places, [fill(step.method, 24) for step in steps])
    axes.set_ylim(-0.6, len(steps) + 0.4)
    whole_numbers(axes)
    legend(axes, "upper right")
    title(axes, "Which step vouches for how many data", estimate.caveat)
