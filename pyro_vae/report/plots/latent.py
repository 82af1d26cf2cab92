"""Views of the latent space: pictures where the data are pictures, else lines and clouds of their
values.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyro_vae.latent import (
    Embedding,
    Interpolation,
    Manifold,
    Nearest,
    Reconstructions,
    Samples,
    Traversals,
)
from pyro_vae.report.images import are_images
from pyro_vae.report.plots.embedding import draw_line, draw_plane
from pyro_vae.report.plots.pictures import Layout, mosaic, size_of, striped, title
from pyro_vae.report.plots.view import View, Views, views

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ACROSS = 16  # pictures in a row of pairs
_LINES = 64  # data that are drawn as lines
_PANELS = 6  # of a figure of several axes
_CLOSE = Layout(gap=0.03)
_NAMED = 40  # values whose names find room
_LONG = 24  # letters of a name; twice as many of all find room side by side
NUMBERED = "number of the value"


@views.register(Samples)
def _(result: Samples) -> Views:
    if not are_images(result.x):
        return {"samples": View(partial(_draw_values, result))}
    across = math.ceil(math.sqrt(len(result.x)))
    size = size_of(math.ceil(len(result.x) / across), across, Layout(), 0.2, 0.4)
    return {"samples": View(partial(_draw_samples, result, across), size)}


def _draw_samples(result: Samples, across: int, ax: Axes) -> None:
    mosaic(ax, striped([result.x], across), Layout())
    title(ax, _samples_title(result), across)


def _samples_title(result: Samples) -> str:
    what = "means of p(x | z)" if result.kind == "mean" else "draws of p(x | z)"
    at = "" if result.temperature == 1 else f", temperature {result.temperature:g}"
    return f"{what}, z from the prior{at}"


def _draw_values(result: Samples, ax: Axes) -> None:
    flat = result.x.reshape(len(result.x), -1)
    if flat.shape[1] == 1:
        ax.hist(flat[:, 0].numpy(), bins="auto")
        ax.set(xlabel="value", ylabel="samples")
    else:
        ax.plot(flat[:_LINES].T.numpy(), color="C0", alpha=0.4, linewidth=1)
        _number_values(ax, flat.shape[1])
    ax.set_title(_samples_title(result), fontsize="medium")


@views.register(Nearest)
def _(result: Nearest) -> Views:
    distances = {"distances": View(partial(_draw_distances, result))}
    if not are_images(result.x):
        return distances
    across = min(_ACROSS, len(result.x))
    size = size_of(2 * math.ceil(len(result.x) / across), across, _neighbours(result), rest=0.8)
    return {"pictures": View(partial(_draw_nearest, result), size)} | distances


def _neighbours(result: Nearest) -> Layout:
    return Layout(_repeated(("sample", "nearest"), len(result.x)), stripe=2, wide=0.5)


def _draw_nearest(result: Nearest, ax: Axes) -> None:
    pictures = striped([result.x, result.found], _ACROSS)
    rows, columns = mosaic(ax, pictures, _neighbours(result))
    below = (rows[1] - rows[0]) * 0.52
    whole = bool((result.distance % 1 == 0).all())
    for place, distance in enumerate(result.distance.tolist()):
        row, column = rows[2 * (place // len(columns)) + 1], columns[place % len(columns)]
        told = f"{distance:.0f}" if whole or distance >= 100 else f"{distance:.2f}"
        ax.text(column, row + below, told, ha="center", va="top", fontsize=7)
    bottom, top = ax.get_ylim()
    ax.set_ylim(bottom + 0.6 * below, top)
    told = f"samples and the training data nearest to them; below, {result.metric}"
    title(ax, told, len(columns))


def _draw_distances(result: Nearest, ax: Axes) -> None:
    ax.hist(result.distance.numpy(), bins="auto")
    ax.set(xlabel=f"{result.metric}, to the nearest training datum", ylabel="data")
    ax.set_title("how near the training data are to samples", fontsize="medium")


@views.register(Reconstructions)
def _(result: Reconstructions) -> Views:
    fit = {"fit": View(partial(_draw_fit, result))}
    if not are_images(result.x):
        return {"values": View(partial(_draw_agreement, result))} | fit
    across = min(_ACROSS, len(result.x))
    size = size_of(2 * math.ceil(len(result.x) / across), across, _pairs(result), 0.6, 0.4)
    return {"pictures": View(partial(_draw_pairs, result), size)} | fit


def _pairs(result: Reconstructions) -> Layout:
    return Layout(_repeated(("data", "mean"), len(result.x)), stripe=2)


def _draw_pairs(result: Reconstructions, ax: Axes) -> None:
    mosaic(ax, striped([result.x, result.means], _ACROSS), _pairs(result))
    where = "the guide's mean of z" if result.at == "mean" else "a draw of the guide"
    title(ax, f"data, and means of p(x | z) at {where}", min(_ACROSS, len(result.x)))


def _draw_agreement(result: Reconstructions, ax: Axes) -> None:
    data, means = result.x.flatten().numpy(), result.means.flatten().numpy()
    ax.plot(data, means, ".", markersize=3, alpha=0.5)
    middle = float(data[data == data].mean())  # of what is there
    ax.axline((middle, middle), slope=1, color="gray", linewidth=1)
    ax.set(xlabel="value of the data", ylabel="its mean under p(x | z)")
    ax.set_title("data and their reconstructions, value by value", fontsize="medium")


def _draw_fit(result: Reconstructions, ax: Axes) -> None:
    ax.hist(result.log_likelihood.numpy(), bins="auto")
    ax.set(xlabel="log p(x | z), nats", ylabel="data")
    ax.set_title("how well x is reconstructed", fontsize="medium")


@views.register(Interpolation)
def _(result: Interpolation) -> Views:
    if not are_images(result.data):
        return {"values": View(partial(_draw_way, result))}
    ways, steps = result.x.shape[:2]
    size = size_of(ways, steps + 2, Layout(), 1.2)
    return {"pictures": View(partial(_draw_ways, result), size)}


def _draw_ways(result: Interpolation, ax: Axes) -> None:
    ends = result.data.to(result.x)
    tiles = torch.cat([ends[:-1, None], result.x, ends[1:, None]], 1)
    columns = ["data", *(f"{position:.3g}" for position in result.positions), "data"]
    mosaic(ax, tiles, Layout([f"{way} to {way + 1}" for way in range(len(tiles))], columns))
    ax.set(xlabel=f"position on the way through the latent, {result.path}", ylabel="datum")
    title(ax, "means of p(x | z) between data", len(columns))


def _draw_way(result: Interpolation, ax: Axes) -> None:
    _coloured_lines(ax, result.x[0], result.positions, "position on the way")
    ax.set_title("means of p(x | z) from datum 0 to datum 1", fontsize="medium")


@views.register(Traversals)
def _(result: Traversals) -> Views:
    if not are_images(result.start[None]):
        panels = min(len(result.units), _PANELS)
        size = (6.4, 1.0 + 2.2 * panels)
        return {"values": View(partial(_draw_moved_values, result), size, whole=True)}
    units, steps = result.x.shape[:2]
    size = size_of(units, steps + 1, Layout(), 1.2)
    return {"pictures": View(partial(_draw_moved, result), size)}


def _draw_moved(result: Traversals, ax: Axes) -> None:
    start = result.start.to(result.x).expand(len(result.units), 1, *result.start.shape)
    rows = [_with_rate(*unit) for unit in zip(result.units, result.rates.tolist(), strict=True)]
    columns = ["data", *(f"{position:.3g}" for position in result.positions)]
    mosaic(ax, torch.cat([start, result.x], 1), Layout(rows, columns))
    ax.set_xlabel("the unit's place: standard deviations of the prior from its mean")
    told = "means of p(x | z), one unit of z moved; rates in nats per datum"
    title(ax, told, len(columns))


def _draw_moved_values(result: Traversals, figure: Figure) -> None:
    panels = min(len(result.units), _PANELS)
    for number, ax in enumerate(figure.subplots(panels, 1, squeeze=False)[:, 0]):
        _coloured_lines(ax, result.x[number], result.positions, "place, sd of the prior")
        told = _with_rate(result.units[number], result.rates[number].item())
        ax.set_title(told.replace("\n", ", "), fontsize="medium")
        if number < panels - 1:
            ax.set_xlabel("")
            ax.tick_params(labelbottom=False)


def _with_rate(unit: str, rate: float) -> str:
    return f"{unit}\nrate unknown" if math.isnan(rate) else f"{unit}\nrate {rate:.2f}"


@views.register(Manifold)
def _(result: Manifold) -> Views:
    side = len(result.levels)
    if are_images(result.x.flatten(0, 1)):
        return {"pictures": View(partial(_draw_map, result), size_of(side, side, _CLOSE))}
    panels = min(result.x[0, 0].numel(), _PANELS)
    size = (8.0 if panels > 1 else 4.5, 0.4 + 3.2 * math.ceil(panels / 2))
    return {"values": View(partial(_draw_map_values, result), size, whole=True)}


def _draw_map(result: Manifold, ax: Axes) -> None:
    # to the right z_1 grows, upwards z_2
    rows, columns = mosaic(ax, result.x.transpose(0, 1).flip(0), _CLOSE)
    ticks = torch.linspace(0, len(columns) - 1, 5 if len(columns) % 2 else 4)
    shown = sorted({round(place) for place in ticks.tolist()})
    first, second = _ticks(result)
    ax.set_xticks([columns[place] for place in shown], [first[place] for place in shown])
    ax.set_yticks([rows[-1 - place] for place in shown], [second[place] for place in shown])
    ax.tick_params(length=3)
    ax.set(xlabel=_axis(result, 0), ylabel=_axis(result, 1))
    title(ax, "means of p(x | z) at quantiles of the prior", len(columns))


def _draw_map_values(result: Manifold, figure: Figure) -> None:
    flat = result.x.reshape(*result.z.shape[:2], -1)
    panels, levels = min(flat.shape[-1], _PANELS), result.levels.numpy()
    figure.suptitle("means of p(x | z) at quantiles of the prior", fontsize="medium")
    for number in range(panels):
        ax = figure.add_subplot(math.ceil(panels / 2), min(panels, 2), number + 1)
        drawn = ax.pcolormesh(levels, levels, flat[..., number].T.numpy())
        figure.colorbar(drawn, ax=ax, label=f"mean of value {number}")
        ax.set(xlabel=f"{result.units[0]}, quantile", ylabel=f"{result.units[1]}, quantile")


def _is_even(result: Manifold) -> bool:
    """Whether the second number has the same quantiles wherever the first one is."""
    second = result.z[..., 1]
    return bool(torch.allclose(second, second[:1].expand_as(second)))


def _axis(result: Manifold, number: int) -> str:
    given = "" if number == 0 or _is_even(result) else f", quantile given {result.units[0]}"
    return f"{result.units[number]}{given}"


def _ticks(result: Manifold) -> tuple[list[str], list[str]]:
    second = result.z[0, :, 1] if _is_even(result) else result.levels
    firsts, seconds = result.z[:, 0, 0].tolist(), second.tolist()
    return [f"{z:.2f}" for z in firsts], [f"{z:.2f}" for z in seconds]


@views.register(Embedding)
def _(result: Embedding) -> Views:
    draw = draw_line if len(result.units) == 1 else draw_plane
    return {"points": View(partial(draw, result), (6.8, 5.0))}


def _coloured_lines(ax: Axes, values: Tensor, positions: Tensor, told: str) -> None:
    """A line for each step `(S, *shape)`, coloured by its position."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    flat = values.reshape(len(values), -1)
    if flat.shape[1] == 1:
        ax.plot(positions.numpy(), flat[:, 0].numpy(), ".-")
        ax.set(xlabel=told, ylabel="value")
        return

    colours = ScalarMappable(Normalize(positions[0].item(), positions[-1].item()), "viridis")
    for line, position in zip(flat.tolist(), positions.tolist(), strict=True):
        ax.plot(line, ".-", color=colours.to_rgba(position), linewidth=1)
    ax.figure.colorbar(colours, ax=ax, label=told)
    _number_values(ax, flat.shape[1])


def _number_values(ax: Axes, number: int) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel=NUMBERED, ylabel="value", xlim=(-0.5, number - 0.5))


def name_values(figure: Figure, names: Sequence[str]) -> Figure:
    """Names in the place of the values' numbers, where a figure shows a table of not too many."""
    for ax in figure.axes:
        if ax.get_xlabel() == NUMBERED and len(names) <= _NAMED:
            told = [name if len(name) <= _LONG else f"{name[: _LONG - 1]}…" for name in names]
            slant = 90 if sum(map(len, told)) > 2 * _LONG else 0
            ax.set_xticks(range(len(names)), told, fontsize="small", rotation=slant)
            ax.set_xlabel("")
    return figure


def _repeated(names: tuple[str, ...], number: int) -> list[str]:
    return list(names) * math.ceil(number / min(_ACROSS, number))
