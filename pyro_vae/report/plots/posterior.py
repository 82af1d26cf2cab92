"""Posteriors: exact densities and guides on a grid, draws in pairs, means and spreads by unit."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from pyro_vae.diagnostics.pairs import PosteriorPairs
from pyro_vae.diagnostics.posterior import PosteriorGrid
from pyro_vae.diagnostics.reference import Agreement, Reference
from pyro_vae.report.plots.marks import (
    MAIN,
    MANY,
    REST,
    SECOND,
    Array,
    array,
    finite,
    left_out,
    legend,
    looks,
    title,
    whole_numbers,
)
from pyro_vae.report.plots.view import View, Views, views

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HELD = (0.99, 0.9, 0.5)  # probability of the regions whose borders are drawn
_SHADES = (0.2, 0.4, 0.6)
_SEEN = 0.9999  # probability of what the axes show
_UNITS = 4  # of a reference, that are drawn in pairs
_ERRORS = 2.0
_TRUTH = "NUTS"  # whose draws lie above the others


@views.register(PosteriorGrid)
def _(grid: PosteriorGrid) -> Views:
    return {"contours": View(partial(_contours, grid), (5.6, 4.8))}


@views.register(PosteriorPairs)
def _(pairs: PosteriorPairs) -> Views:
    return {"pairs": View(partial(_side_by_side, pairs), _square(len(pairs.names)), whole=True)}


@views.register(Reference)
def _(reference: Reference) -> Views:
    size = _square(min(_UNITS, _narrowest(reference)[1].shape[1]))
    return {"pairs": View(partial(_reference, reference), size, whole=True)}


@views.register(Agreement)
def _(agreement: Agreement) -> Views:
    return {"shift": View(partial(_shift, agreement)), "ratio": View(partial(_ratio, agreement))}


def _contours(grid: PosteriorGrid, axes: Axes) -> None:
    """Regions of highest density that hold 50, 90 and 99%, of the posterior and of each guide."""
    exact, (first, second) = array(grid.exact), map(array, grid.axes)
    finite("log p(z | x)", exact.flatten())

    levels = [_height(exact, held) for held in _HELD]
    colours = [(MAIN, shade) for shade in _SHADES]
    axes.contourf(first, second, exact.T, [*levels, exact.max() + 1.0], colors=colours)
    axes.plot([], [], "s", color=MAIN, alpha=_SHADES[-1], ms=9, label="posterior, exact")

    missing, shown = 0, [exact]
    for name, colour, style, _ in looks(list(grid.guides)):
        log_q = array(grid.guides[name])
        if not np.isfinite(log_q).any():
            missing += 1
            continue
        shown.append(log_q)
        heights = [_height(log_q, held) for held in _HELD]
        axes.contour(
            first, second, log_q.T, heights, colors=colour, linestyles=style, linewidths=1.3
        )
        label = f"{name}: KL {grid.kl[name]:.3g} nats"
        axes.plot([], [], style, color=colour, label=label)

    left_out(axes, missing, "guides without a density here")
    _zoom(axes, shown, first, second)
    axes.set(xlabel="$z_1$", ylabel="$z_2$")
    title(axes, "Regions that hold 50, 90 and 99%")
    legend(axes, "upper left", headroom=True)


def _height(log_density: Array, held: float) -> float:
    """Log-density at the border of the region of highest density that holds so much."""
    heights = np.sort(log_density.flatten())[::-1]
    masses = np.exp(heights - heights[0]).cumsum()
    return float(heights[np.searchsorted(masses, held * masses[-1])])


def _zoom(axes: Axes, densities: list[Array], first: Array, second: Array) -> None:
    """Show the regions that hold nearly all of each density."""
    inside = np.zeros(densities[0].shape, bool)
    for log_density in densities:
        inside |= log_density >= _height(log_density, _SEEN)
    seen = [line[inside.any(axis)] for line, axis in ((first, 1), (second, 0))]
    axes.set_xlim(seen[0].min(), seen[0].max())
    axes.set_ylim(seen[1].min(), seen[1].max())


def _side_by_side(pairs: PosteriorPairs, figure: Figure) -> None:
    draws = {_TRUTH: array(pairs.reference)}
    draws |= {name: array(values) for name, values in pairs.guides.items()}
    draw_pairs(figure, pairs.names, draws)
    figure.suptitle(f"Posterior of datum {pairs.datum}: guides beside NUTS", fontsize="medium")


def _reference(reference: Reference, figure: Figure) -> None:
    names, draws = _narrowest(reference)
    draw_pairs(figure, names, {_TRUTH: draws})
    state = "converged" if reference.converged else "NOT converged"
    text = f"{draws.shape[0]:,} draws by NUTS, {state}"
    figure.suptitle(text, fontsize="medium")


def _narrowest(reference: Reference) -> tuple[tuple[str, ...], Array]:
    """Units of the first row of each site (of its first datum, where the data come first), those of
    the narrowest posterior, and their draws `(C * S, U)`.
    """
    names: list[str] = []
    parts = []
    for site, draws in reference.draws.items():
        shape = draws.shape[2:]
        first = draws[:, :, 0] if shape else draws
        values = first.flatten(0, 1).reshape(draws.shape[0] * draws.shape[1], -1)
        inner = list(np.ndindex(*shape[1:])) if shape else [()]
        for place in inner:
            whole = (0, *place) if shape else ()
            names.append(f"{site}[{', '.join(map(str, whole))}]" if whole else site)
        parts.append(values.double().cpu())
    joined = torch.cat(parts, 1)
    order = joined.std(0).argsort()[:_UNITS]
    return tuple(names[unit] for unit in order.tolist()), array(joined[:, order])


def _square(num_units: int) -> tuple[float, float]:
    return (1.2 + 1.7 * max(2, num_units),) * 2


def draw_pairs(figure: Figure, names: tuple[str, ...], draws: Mapping[str, Array]) -> None:
    """A histogram of each unit, and below the diagonal each pair of units; `(S, U)` by source."""
    kept: dict[str, Array] = {}
    for name, values in draws.items():
        kept[name] = np.asarray(np.isfinite(values).all(axis=1))
    finite("draws", next(iter(draws.values()))[:, 0])
    missing = sum(int((~rows).sum()) for rows in kept.values())
    grid = figure.subplots(len(names), len(names), sharex="col", squeeze=False)

    sources = [(_TRUTH, MAIN, "-", "o"), *looks([name for name in draws if name != _TRUTH])]
    for row in range(len(names)):
        for place in range(len(names)):
            if place > row:
                grid[row, place].axis("off")
                continue
            _panel(grid[row, place], (place, row), sources, draws, kept)

    for place, name in enumerate(names):
        grid[-1, place].set_xlabel(name)
        if place:
            grid[place, 0].set_ylabel(name)
    grid[0, 0].set_ylabel("density")
    if missing:
        grid[0, 0].plot([], [], linestyle="none", label=f"{missing:,} left out: not finite")
    entries = grid[0, 0].get_legend_handles_labels()
    empty = grid[0, -1]  # but for a single unit
    empty.legend(*entries, loc="upper right", fontsize="small", frameon=False)


def _panel(
    axes: Axes,
    units: tuple[int, int],
    sources: list[tuple[str, str, str, str]],
    draws: Mapping[str, Array],
    kept: Mapping[str, Array],
) -> None:
    """One unit's histograms, or two units against each other."""
    across, up = units
    for name, colour, style, marker in sources:
        values = draws[name][kept[name]]
        if across == up:
            axes.hist(
                values[:, across],
                bins=30,
                density=True,
                histtype="step",
                color=colour,
                linestyle=style,
                label=name,
            )
        else:
            # of all panels together
            many = sum(one.size for one in draws.values()) * draws[name].shape[1] / 2 > MANY
            axes.plot(
                values[:, across],
                values[:, up],
                marker,
                color=colour,
                ms=3,
                alpha=0.35,
                zorder=3 if name == _TRUTH else 2,
                mew=0,
                rasterized=many,
            )
    axes.tick_params(labelsize="small")
    if across == up:
        axes.set_yticks([])


def _flat(agreement: Agreement, name: str) -> Array:
    return array(torch.cat([value.flatten() for value in getattr(agreement, name).values()]))


def _shift(agreement: Agreement, axes: Axes) -> None:
    """Differences of the means, with twice their Monte Carlo errors."""
    shift, error = _flat(agreement, "shift"), _flat(agreement, "shift_error")
    kept, missing = finite("shifts", shift, error)
    places = np.arange(len(shift))[kept]
    axes.errorbar(
        places,
        shift[kept],
        yerr=_ERRORS * error[kept],
        fmt="o",
        color=MAIN,
        ms=3,
        linewidth=0.8,
        label="shift, ± 2 Monte Carlo errors",
    )
    axes.axhline(0.0, color=REST, linestyle="--", label="the posterior's mean")
    _by_unit(axes, agreement, missing, "shift of the mean, sd of the posterior")
    title(axes, f"Means of the guide: off by {agreement.mean_shift:.2f} sd (root mean square)")


def _ratio(agreement: Agreement, axes: Axes) -> None:
    """Ratios of the standard deviations, those below 1 coloured apart."""
    ratio = _flat(agreement, "ratio")
    kept, missing = finite("ratios", ratio)
    places = np.arange(len(ratio))
    for mine, colour, marker, word in (
        (ratio >= 1, MAIN, "o", "as wide or wider"),
        (ratio < 1, SECOND, "D", "narrower"),
    ):
        chosen = kept & mine
        if chosen.any():
            label = f"{word}: {int(chosen.sum()):,} units"
            axes.plot(places[chosen], ratio[chosen], marker, color=colour, ms=4, label=label)
    axes.axhline(1.0, color=REST, linestyle="--", label="the posterior's sd")
    _by_unit(axes, agreement, missing, "sd of the guide over the posterior's")
    title(
        axes, f"Widths of the guide: {agreement.mean_ratio:.2f} of the posterior's (geometric mean)"
    )


def _by_unit(axes: Axes, agreement: Agreement, missing: int, label: str) -> None:
    sites = ", ".join(f"{name} {tuple(value.shape)}" for name, value in agreement.shift.items())
    axes.set(xlabel=f"units of all data: {sites}", ylabel=label)
    whole_numbers(axes)
    left_out(axes, missing)
    legend(axes, "upper left", headroom=True, columns=2)
