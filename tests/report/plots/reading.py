"""What a picture says: its lines by their labels, and the words of its legend."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

import pyro_vae as pv


def axes_of(result: Any, view: str | None = None) -> Any:
    """The only axes of a view, that can be saved."""
    figure = pv.plot(result, view)
    figure.canvas.draw()  # a layout that does not fit is a warning, and a warning an error
    (axes,) = figure.axes
    return axes


def words(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def line(axes: Any, label: str) -> Any:
    """x and y of the line whose label begins so."""
    (found,) = (one for one in axes.lines if str(one.get_label()).startswith(label))
    return np.stack(found.get_data())


def drawn(axes: Any, colour: str, marker: str) -> Any:
    """x and y of all markers of a colour and a kind, as they are in the axes."""
    mine = [one for one in axes.lines if (one.get_color(), one.get_marker()) == (colour, marker)]
    return np.concatenate([np.stack(one.get_data()) for one in mine], 1)


def svg(figure: Figure) -> str:
    import io

    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True)
    return text.getvalue()
