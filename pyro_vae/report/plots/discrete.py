"""The probabilities of discrete latents given each datum."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyro_vae.diagnostics.discrete import DiscretePosterior
from pyro_vae.report.plots.marks import MAIN, array, title
from pyro_vae.report.plots.view import View, Views, views

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST = 40  # states that are named


@views.register(DiscretePosterior)
def _(found: DiscretePosterior) -> Views:
    return {"states": View(partial(_states, found))}


def _states(found: DiscretePosterior, axes: Axes) -> None:
    """A row for each state, a column for each datum, darker the more probable."""
    from matplotlib.colors import LinearSegmentedColormap

    names, rows = _rows(found)
    first = next(iter(found.probabilities.values())).flatten(1)
    sure, state = first.max(-1)
    order = torch.argsort(state + (1 - sure) / 2)  # by the state, the surest first

    colours = LinearSegmentedColormap.from_list("share", ["white", MAIN])
    drawn = axes.imshow(
        array(rows[:, order]),
        cmap=colours,
        vmin=0,
        vmax=1,
        aspect="auto",
        interpolation="nearest",
    )
    axes.figure.colorbar(drawn, ax=axes, label="p(k | x)")

    if len(names) <= _MOST:
        axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="data, by their most likely state", ylabel="states of each discrete latent")
    title(axes, f"Discrete latents given x: {len(found.ess):,} data")


def _rows(found: DiscretePosterior) -> tuple[list[str], Tensor]:
    """Names of all states, and their probabilities `(states, N)`."""
    columns = {name: values for name, values in found.columns().items() if name != "ess"}
    return list(columns), torch.stack(list(columns.values()))
