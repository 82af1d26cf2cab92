"""The views of a result: `plot` draws one of them.

    plot(run)                        the first of its views
    plot(run, "units", ax=axes)      another one, into axes of your own

A class of results registers what can be seen of it, by name, the usual view first:

    @views.register(Sandwich)
    def _(result: Sandwich) -> Views:
        return {"bounds": View(partial(_bounds, result))}

A view's function draws into axes and labels them, units included. matplotlib is imported when
something is drawn; pyplot never, so that no figure is kept alive and no window opens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import singledispatch
from typing import TYPE_CHECKING, Any

from pyro_vae.arguments import check_choice

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class View:
    """Something that can be seen of a result.

    Attributes:
        draw: draws into the axes that it is given; into the figure, where it is `whole`.
        size: width and height in inches of a figure of its own.
        whole: whether it needs a whole figure, of several axes.
    """

    draw: Callable[[Any], None]
    size: tuple[float, float] = (6.4, 4.0)
    whole: bool = False


Views = Mapping[str, View]
"""By their names, the usual one first."""


@singledispatch
def views(result: Any) -> Views:
    """What can be seen of a result, by name; none of what is no result."""
    return {}


def plot(result: Any, view: str | None = None, ax: Axes | None = None) -> Figure:
    """Draw a result: any that a function of this package returns.

    Args:
        result: such as a `Run`, an `Estimate`, a `Ledger`.
        view: what of it; `list(views(result))` has the names, the first is drawn unless given.
        ax: axes to draw into; a figure of its own unless given.

    Returns:
        The figure, with units on its axes; `figure.savefig("name.svg")` writes it.

    Raises:
        ValueError: what is no result, a view that it has not, axes for a view of several axes, or a
            result that holds nothing to draw.

    Example:
        >>> from pyro_vae import Exact, LinearGaussian, log_evidence
        >>> model = LinearGaussian(5, 2)
        >>> found = log_evidence(model, None, model.sample(8), Exact())
        >>> plot(found).axes[0].get_ylabel()
        'log p(x), nats'
    """
    known = views(result)
    if not known:
        raise ValueError(
            f"result: got {type(result).__name__}, expected what a function of pyro_vae returns,"
            " such as a Run, an Estimate or a Ledger"
        )
    name = next(iter(known)) if view is None else view
    check_choice("view", name, tuple(known))
    chosen = known[name]

    if ax is None:
        figure = blank(chosen.size)
        chosen.draw(figure if chosen.whole else figure.add_subplot())
        return figure

    if chosen.whole:
        raise ValueError(f"ax: got axes, but {name!r} draws several: leave ax out")
    check_axes("ax", ax)
    chosen.draw(ax)
    return ax.figure  # type: ignore[return-value]


def blank(size: tuple[float, float]) -> Figure:
    """A figure of so many inches, known to nobody else, that can be saved."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def check_axes(name: str, axes: Any) -> None:
    """Raise a ValueError for what are no axes of matplotlib."""
    from matplotlib.axes import Axes

    if not isinstance(axes, Axes):
        raise ValueError(f"{name}: got {type(axes).__name__}, expected axes of matplotlib")
