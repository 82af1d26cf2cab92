"""A sweep as a plot: what was found over a setting that varies, a line for each combination of the
others, with the standard error over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pyro_vae.report.plots.marks import MAIN, finite, left_out, legend, looks, title
from pyro_vae.report.plots.view import View, Views
from pyro_vae.results import counted
from pyro_vae.sweeps.spec import value_told
from pyro_vae.sweeps.swept import SEED, Sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABELS = {
    "log_px": "log p(x) of the data scored, nats per datum",
    "valid_elbo": "ELBO of validation data, nats per datum",
    "active_units": "active latent units",
    "seconds": "seconds of training",
}
_SPREAD = 30  # a ratio of values above which their axis is logarithmic
_MOST = 8  # lines that a legend names
_ASIDE = 0.3  # between the first and the last mark of a value that is no number
_FEW = 8  # values of a setting that are all marked


@dataclass(frozen=True)
class Line:
    """Cells that differ in one setting and in their seeds.

    Attributes:
        name: what is the same in all.
        at: the values of the setting, as texts.
        values: what was found there, a number for each seed.
    """

    name: str
    at: list[Any]
    values: list[list[float]]


def views_of(sweep: Sweep) -> Views:
    """The views of a sweep: of each column that has values, what cells are compared by first."""
    shown = [sweep.quantity, *(name for name in LABELS if name != sweep.quantity)]
    names = [
        name for name in shown if any(math.isfinite(row.get(name, math.nan)) for row in sweep.rows)
    ]
    return {name: View(partial(_draw, sweep, name), (6.8, 4.4)) for name in names or shown[:1]}


def axis_of(sweep: Sweep) -> str:
    """The setting to draw over: not the seed, of numbers if there is one, of most values."""
    names = [name for name in sweep.names if name != SEED] or list(sweep.names) or ["cell"]

    def rank(name: str) -> tuple[bool, int]:
        values = [row[name] for row in sweep.rows]
        return _are_numbers(values), len(set(map(value_told, values)))

    return max(names, key=rank)


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and type(value) is not bool for value in values)


def lines_of(sweep: Sweep, over: str, quantity: str) -> list[Line]:
    """The cells that have a value, by what is the same in them but for the seed."""
    rows = [row for row in sweep.rows if row["state"] == "done" and math.isfinite(row[quantity])]
    others = [name for name in sweep.names if name not in (over, SEED)]
    others = [name for name in others if len({value_told(row[name]) for row in rows}) > 1]
    found: dict[str, dict[Any, list[float]]] = {}
    for row in rows:
        name = ", ".join(f"{other} {value_told(row[other])}" for other in others)
        at = row[over] if _are_numbers([row[over]]) else value_told(row[over])
        found.setdefault(name, {}).setdefault(at, []).append(row[quantity])
    return [_ordered(name, by) for name, by in found.items()]


def _ordered(name: str, by: Mapping[Any, list[float]]) -> Line:
    at = sorted(by) if _are_numbers(list(by)) else list(by)
    return Line(name, at, [by[value] for value in at])


def _draw(sweep: Sweep, quantity: str, axes: Axes) -> None:
    over = axis_of(sweep)
    lines = lines_of(sweep, over, quantity)
    drawn = [value for line in lines for each in line.values for value in each]
    finite("value of a cell that is done", np.array([math.nan, *drawn]))

    values = [row[over] for row in sweep.rows]
    numbers = _are_numbers(values)
    places = list(dict.fromkeys(map(value_told, values)))
    styles = [("", MAIN, "-", "o")] if len(lines) == 1 else list(looks([x.name for x in lines]))
    for number, (line, (_, colour, style, marker)) in enumerate(zip(lines, styles, strict=True)):
        aside = _ASIDE * (number - (len(lines) - 1) / 2) / max(1, len(lines) - 1)
        at = line.at if numbers else [places.index(each) + aside for each in line.at]
        bars = axes.errorbar(
            at,
            [float(np.mean(each)) for each in line.values],
            yerr=[_error(each) for each in line.values],
            color=colour,
            linestyle=style if numbers else "none",
            marker=marker,
            capsize=3,
        )
        if line.name and len(lines) <= _MOST:
            bars[0].set_label(line.name)

    _label_axis(axes, over, values if numbers else places)
    axes.set_ylabel(LABELS[quantity])
    left_out(axes, sum(row["state"] != "done" for row in sweep.rows), "cells that are not done")
    if axes.get_legend_handles_labels()[0]:
        legend(axes)
    title(axes, _heading(sweep, lines))


def _error(values: Sequence[float]) -> float:
    """The standard error of a mean over seeds; 0, which draws no bar, where there is one seed."""
    if len(values) < 2:
        return 0.0
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


def _label_axis(axes: Axes, over: str, values: Sequence[Any]) -> None:
    """Name the setting and its values."""
    axes.set_xlabel(over)
    if values and isinstance(values[0], str):
        turned = sum(map(len, values)) > 50
        axes.set_xticks(range(len(values)), values, rotation=30 if turned else 0)
        axes.set_xlim(-0.5, len(values) - 0.5)
        return

    known = sorted(set(values))
    if known[0] > 0 and known[-1] / known[0] >= _SPREAD:
        axes.set_xscale("log")
    if len(known) <= _FEW:
        axes.set_xticks(known, [f"{value:g}" for value in known])
        axes.minorticks_off()


def _heading(sweep: Sweep, lines: Sequence[Line]) -> str:
    """How many cells are drawn, and what a bar is."""
    seeds = max(len(each) for line in lines for each in line.values)
    told = counted(sweep.num_done, "cells")
    if seeds == 1:
        return told
    return f"{told}; means over up to {seeds} seeds, bars: their standard error"
