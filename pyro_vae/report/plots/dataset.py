"""Data: their mean and some of them as pictures, or their mean and spread by coordinate."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pyro_vae.data import Dataset
from pyro_vae.report.images import are_images, as_images
from pyro_vae.report.plots.marks import MAIN, array, legend, title, whole_numbers
from pyro_vae.report.plots.view import View, Views, views

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS, _ROWS = 10, 4  # of pictures, the mean among them
_MOST = 10_000  # data of which a spread is made


@views.register(Dataset)
def _(data: Dataset) -> Views:
    draw = _pictures if are_images(_few(data)) else _coordinates
    return {"data": View(partial(draw, data))}


def _few(data: Dataset) -> Tensor:
    """The first train data, as many as are drawn beside their mean."""
    return data.train.sample.x[: _COLUMNS * _ROWS - 1].to(torch.float32).cpu()


def _pictures(data: Dataset, axes: Axes) -> None:
    """The mean of the train data, then the first of them, as the model is given them."""
    shown = _few(data)
    tiles = as_images(torch.cat([data.mean.to(torch.float32).cpu()[None], shown]))
    picture = _tiled(tiles, min(_COLUMNS, len(tiles)))

    axes.imshow(picture.squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.axis("off")
    number = f"{len(shown)} of {len(data.train):,} train data"
    title(axes, f"{data.name}: the mean (top left), and {number}")


def _tiled(images: Tensor, columns: int) -> Tensor:
    """Pictures `(N, C, H, W)` in rows, with grey lines between, `(height, width, C)`."""
    framed = torch.nn.functional.pad(images, (0, 1, 0, 1), value=0.5)
    missing = -len(framed) % columns
    blank = framed.new_full((missing, *framed.shape[1:]), 0.5)
    _, channels, height, width = framed.shape
    grid = torch.cat([framed, blank]).reshape(-1, columns, channels, height, width)
    return grid.permute(0, 3, 1, 4, 2).reshape(-1, columns * width, channels)


def _coordinates(data: Dataset, axes: Axes) -> None:
    """Mean and standard deviation of each coordinate over the train data."""
    some = data.train.sample.x[:_MOST]
    values = some.reshape(len(some), -1).double().cpu()
    middle = values.nanmean(0)
    mean, spread = array(middle), array((values - middle).square().nanmean(0).sqrt())
    places = np.arange(len(mean))

    told = f"mean ± sd over {len(values):,} train data"
    style = "o" if len(mean) <= 60 else "-"
    if style == "o":
        axes.errorbar(places, mean, yerr=spread, fmt=style, color=MAIN, ms=3, capsize=2, label=told)
    else:
        axes.fill_between(places, mean - spread, mean + spread, color=MAIN, alpha=0.25, linewidth=0)
        axes.plot(places, mean, color=MAIN, label=told)
    axes.set(xlabel="coordinate", ylabel="value")
    whole_numbers(axes)
    title(axes, f"{data.name}: {len(data.train):,} train data")
    legend(axes, headroom=True)
