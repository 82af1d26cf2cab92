"""What the plots have in common: colours that mean one thing each, numbers that can be drawn,
titles and legends.

Colours are of medium lightness, for pages that are light or dark; what colour tells is told by a
marker or a line's style too. Backgrounds, axes and texts are left to matplotlib's defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pyro_vae.arguments import refuse
from pyro_vae.results import with_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[Any]

MAIN = "tab:blue"  # the quantity in question, where nothing is wrong with it; the exact posterior
SECOND = "tab:orange"  # what it is compared with, or where it is in doubt
REST = "tab:gray"  # what both are held against: means, thresholds, bands, what is unused
RATE, DISTORTION = "tab:orange", "tab:purple"

MANY = 2000  # points above which a cloud is drawn as an image inside of the SVG
_NAMED = 24  # bars up to which each is named

_COLOURS = ("tab:orange", "tab:green", "tab:purple", "tab:brown", "tab:pink", "tab:olive")
_STYLES = ("--", "-.", ":", "-")
_MARKERS = ("s", "^", "D", "v", "P", "X")


def looks(names: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    """For each of several of a kind, such as guides: its name, colour, line style and marker."""
    for place, name in enumerate(names):
        colour = _COLOURS[place % len(_COLOURS)]
        yield name, colour, _STYLES[place % len(_STYLES)], _MARKERS[place % len(_MARKERS)]


def array(values: Tensor | Sequence[float]) -> Array:
    """Values as NumPy has them, in float64."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
    return np.asarray(values, dtype=np.float64)


def check_rows_of(name: str, rows: Any, what: str) -> None:
    """Raise a ValueError for what are no rows by column names, or none at all."""
    listed = isinstance(rows, Sequence) and all(isinstance(row, Mapping) for row in rows)
    if not listed:
        refuse(name, rows, f"a row by column names for each {what}")
    if not rows:
        raise ValueError(f"{name}: got no rows, expected one for each {what}: nothing to draw")


def column(rows: Sequence[Mapping[str, Any]], name: str, argument: str) -> Array:
    """A column of rows as a CSV file has them, numbers or texts; NaN for what is not there."""
    found = []
    for row in rows:
        value = row.get(name)
        try:
            found.append(float("nan" if value is None or value == "" else value))
        except (TypeError, ValueError):
            raise ValueError(f"{argument}: got {value!r} as {name}, expected a number") from None
    return np.array(found, dtype=np.float64)


def finite(what: str, *columns: Array, argument: str = "result") -> tuple[Array, int]:
    """Where all columns are finite, `(N,)`, and at how many places they are not.

    Raises:
        ValueError: they are nowhere.
    """
    kept: Array = np.isfinite(np.stack(columns)).all(0)
    if not kept.any():
        raise ValueError(f"{argument}: got no finite {what}, expected some: nothing to draw")
    return kept, int((~kept).sum())


def error_told(value: float, error: float) -> str:
    """A value with its standard error, such as `-83.761 ± 0.021`."""
    return with_error(value, error).replace("+-", "±")


def left_out(axes: Axes, number: int, what: str = "not finite") -> None:
    """Say in the legend that so many were left out."""
    if number:
        axes.plot([], [], linestyle="none", label=f"{number:,} left out: {what}")


def weight(number: int, most: float) -> float:
    """Size of a marker, or width of a line, in points: less where there are many side by side."""
    return float(np.clip(600 / number, 0.4, most))


def title(axes: Axes, text: str, caveat: str = "") -> None:
    """A short title; below it in small print what must stand beside the figures."""
    small = f"\n{fill(caveat, 90)}" if caveat else ""
    axes.set_title(f"{text}{small}", fontsize="small" if caveat else "medium")


def legend(axes: Axes, place: Any = "best", columns: int = 1, headroom: bool = False) -> None:
    """A legend without a box, as on a dark page a white one would hide what is below.

    Args:
        axes: in which everything has been drawn.
        place: matplotlib's `loc`.
        columns: in which its entries stand.
        headroom: whether the y-axis goes on until the legend stands above the data.
    """
    found = axes.legend(loc=place, ncols=columns, fontsize="small", frameon=False)
    if headroom:
        rows = -(-len(found.get_texts()) // columns)
        height = axes.get_window_extent().height / axes.get_figure().dpi * 72  # type: ignore[union-attr]
        share = min(0.5, (rows * 12.5 + 10) / max(height, 1.0))  # points of text, at this size
        low, high = axes.get_ylim()
        axes.set_ylim(low, low + (high - low) / (1 - share))


def whole_numbers(axes: Axes) -> None:
    """Ticks of the x-axis at whole numbers only."""
    axes.locator_params("x", integer=True)


def name_bars(axes: Axes, names: Sequence[str]) -> None:
    """Names below bars, where there is room for them."""
    if len(names) > _NAMED:
        return
    turned = sum(map(len, names)) > 60
    axes.set_xticks(range(len(names)), names)
    axes.tick_params("x", rotation=90 if turned else 0, labelsize="small")
