"""What is missing of data: pictures with what may stand there, intervals, the health of weights."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pyro_vae.latent import Imputation
from pyro_vae.report.images import are_images, as_images
from pyro_vae.report.plots.marks import MAIN, REST, SECOND, array, legend
from pyro_vae.report.plots.pictures import Layout, mosaic, size_of, striped, title
from pyro_vae.report.plots.view import View, Views, views

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ACROSS = 12  # pictures in a row
_DRAWN = 3  # draws of each
_NAMED = 40  # missing values with an interval
_MISSING = (1.0, 0.5, 0.05)  # their colour in a picture


@views.register(Imputation)
def _(result: Imputation) -> Views:
    weights = {"weights": View(partial(_draw_weights, result))}
    if not are_images(result.x):
        return {"intervals": View(partial(_draw_intervals, result))} | weights

    sets = 2 + min(_DRAWN, len(result.draws))
    number = int(result.asked.sum())
    across = min(_ACROSS, number)
    size = size_of(sets * math.ceil(number / across), across, _rows(sets, number), 0.7, 0.4)
    return {"pictures": View(partial(_draw_pictures, result), size)} | weights


def _rows(sets: int, number: int) -> Layout:
    names = ["data", "mean", *(f"draw {place}" for place in range(1, sets - 1))]
    return Layout(names * math.ceil(number / _ACROSS), stripe=sets)


def _draw_pictures(result: Imputation, ax: Axes) -> None:
    asked = result.asked
    drawn = result.drawn()[:_DRAWN, asked]
    images = as_images(torch.cat([result.completed()[asked][None], drawn]).flatten(0, 1).float())
    images = images.expand(-1, 3, -1, -1).unflatten(0, (1 + len(drawn), -1))

    holes = _holes(result.x[asked], images)
    sets = [torch.where(holes, torch.tensor(_MISSING)[:, None, None], images[0]), *images]
    mosaic(ax, striped(sets, _ACROSS), _rows(len(sets), len(holes)))
    told = "data with what is missing in orange, its mean given the rest, and draws of it"
    title(ax, told, min(_ACROSS, len(holes)))


def _holes(x: Tensor, images: Tensor) -> Tensor:
    """Which pixels `(N, 1, H, W)` are missing, in any channel."""
    return as_images(x.isnan().float()).bool().any(1, keepdim=True).expand(images.shape[1:])


def _draw_intervals(result: Imputation, ax: Axes) -> None:
    """The first values that are missing, with their intervals."""
    number = min(_NAMED, len(result.mean))
    mean, low, high = (array(v[:number]) for v in (result.mean, result.low, result.high))
    places = np.arange(number)
    ax.vlines(places, low, high, color=MAIN, alpha=0.6, label=f"{100 * result.level:g}% interval")
    ax.plot(places, mean, "o", color=MAIN, markersize=3.5, label="mean")
    draws = array(result.draws[:_DRAWN, :number])
    for row, label in zip(draws, ["draws", *[""] * _DRAWN], strict=False):
        ax.plot(places, row, ".", color=SECOND, markersize=3, label=label or None)

    pairs = zip(result.datum[:number].tolist(), result.value[:number].tolist(), strict=True)
    names = [f"{datum}:{value}" for datum, value in pairs]
    ax.set_xticks(places, names, rotation=90, fontsize="x-small")
    ax.set(xlabel="missing value, datum:place", ylabel="what may stand there")
    of = f"the first {number} of {len(result.mean):,}" if number < len(result.mean) else "all"
    ax.set_title(f"missing values given the others, {of}", fontsize="medium")
    legend(ax, headroom=True)


def _draw_weights(result: Imputation, ax: Axes) -> None:
    """The effective sample sizes."""
    size = array(result.ess[result.asked])
    edges = np.geomspace(1, max(result.num_particles, 2), 41).tolist()
    ax.hist(size.clip(1), bins=edges, color=MAIN)
    ax.set_xscale("log")
    middle = float(np.median(size))
    ax.axvline(middle, color=REST, linestyle="--", label=f"median {middle:,.0f}")
    ax.set(xlabel=f"effective draws, out of {result.num_particles:,}", ylabel="data")
    ax.set_title("how many of the draws count, datum by datum", fontsize="medium")
    legend(ax, headroom=True)
