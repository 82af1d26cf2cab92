"""A figure that is drawn for a page, in the size that a page has room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pyro_vae.report.page import Picture, Table
from pyro_vae.report.plots import plot
from pyro_vae.report.plots.latent import name_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (5.2, 3.3)


def picture(
    draw: Callable[[Axes], object], alt: str, caption: str = "", numbers: Table | None = None
) -> Picture:
    """A picture of one pair of axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
    draw(figure.add_subplot())
    return Picture(figure, alt, caption, numbers)


def picture_of(
    result: Any,
    alt: str,
    caption: str = "",
    view: str | None = None,
    numbers: Table | None = None,
    names: Sequence[str] | None = None,
) -> Picture:
    """A picture of a view of a result; `names` of the columns of data that are a table."""
    figure = plot(result, view)
    return Picture(name_values(figure, names) if names else figure, alt, caption, numbers)
