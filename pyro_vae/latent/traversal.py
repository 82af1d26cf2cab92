"""What a unit of the latent does: one datum, and one unit of it moved through the prior.

The datum's latents are the guide's means. A unit moves to E[z_u] + t sd[z_u], t = -span..span, with
the mean and standard deviation of the model's prior. Latents that follow it in a model of several
layers keep their own place in their prior, (z - E[z]) / sd[z], and so move with it; where nothing
follows it, nothing else moves. The units are ranked by their rates, nats per datum: one of rate 0
is not used, and moving it shows nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from pyro_vae.arguments import check_integer, check_positive, check_rows, check_seed
from pyro_vae.diagnostics import latent_units
from pyro_vae.latent.centres import (
    Centre,
    centres,
    decoded,
    latent_sites,
    unit_names,
    units_of,
    value_columns,
)
from pyro_vae.programs.calls import Program, called
from pyro_vae.programs.pair import Latents, Pair, opened
from pyro_vae.programs.simulation import means_under
from pyro_vae.programs.sites import is_line, mean_of
from pyro_vae.programs.traces import Substitute, run_particles
from pyro_vae.results import Result, counted

_MOST = 1000  # units
_MOST_STEPS = 100
_ROWS = 4096  # latents of a run
_USUAL = 10  # units that are moved, if as many are active


@dataclass(frozen=True, repr=False)
class Traversals(Result):
    """One datum with single units of its latent moved.

    Attributes:
        start: the datum `(*shape)`.
        centre: mean of p(x | z) at its latents, `(*shape)`.
        x: means with unit u at its step s, `(U, S, *shape)`.
        units: names of the units, the one of the largest rate first, such as "latent[3]".
        rates: of the units `(U,)`, nats per datum; NaN where the guide does not tell them.
        positions: t, standard deviations of the prior from its mean, `(S,)`.
        at: "mean" where the datum's latents are the guide's means, "draw" where they are a draw.
    """

    start: Tensor
    centre: Tensor
    x: Tensor
    units: tuple[str, ...]
    rates: Tensor
    positions: Tensor
    at: Centre

    def headline(self) -> str:
        span = f"{self.positions[0]:g} to {self.positions[-1]:g} sd of the prior"
        return f"{counted(len(self.units), 'units')} of one datum moved, {span}"

    def figures(self) -> Iterator[tuple[str, str]]:
        for name, rate, change in zip(self.units, self.rates, self.changes, strict=True):
            yield name, f"rate {rate:.2f} nats, moves the mean by {change:.3g}"

    @property
    def changes(self) -> Tensor:
        """Euclidean distance between the means at the first and the last step `(U,)`."""
        return (self.x[:, -1] - self.x[:, 0]).reshape(len(self.units), -1).norm(dim=1)

    def summary(self) -> dict[str, Any]:
        """The units, their rates, and how far each moves the mean."""
        told = {"units": list(self.units), "rates": self.rates.tolist(), "at": self.at}
        return told | {"changes": self.changes.tolist()}

    def columns(self) -> dict[str, Any]:
        """A row for each step of each unit, a column for each value of the mean there."""
        units, steps = self.x.shape[:2]
        names = [name for name in self.units for _ in range(steps)]
        rates = self.rates.repeat_interleave(steps)
        told = {"unit": names, "rate": rates, "position": self.positions.repeat(units)}
        return told | value_columns(self.x, 2)


@dataclass(frozen=True)
class _Place:
    """A datum's latents at a site, `(1, ..., 1, *event)`, and the prior's moments there; None of
    what is not any real number.
    """

    value: Tensor
    mean: Tensor | None
    sd: Tensor | None


class _Moved(poutine.messenger.Messenger):
    """Give sites the latents of a datum, with one unit moved in each particle.

    Args:
        places: the datum's latents by site name.
        moves: by site name, the particles in which a unit of it moves, which unit, and to where in
            standard deviations of the prior.
    """

    def __init__(
        self, places: dict[str, _Place], moves: dict[str, tuple[Tensor, Tensor, Tensor]]
    ) -> None:
        super().__init__()
        self.places, self.moves = places, moves

    def _pyro_post_sample(self, msg: Any) -> None:
        place, drawn = self.places.get(msg["name"]), msg["value"]
        if place is None:
            return

        value = place.value.to(drawn).expand(drawn.shape)
        if place.mean is not None and place.sd is not None:
            mean, sd = msg["fn"].mean, msg["fn"].stddev
            value = mean + sd / place.sd * (place.value - place.mean)
            if msg["name"] in self.moves:
                value = _put(value, mean, sd, *self.moves[msg["name"]])
        msg["value"] = value.expand(drawn.shape)


def _put(
    value: Tensor, mean: Tensor, sd: Tensor, rows: Tensor, units: Tensor, positions: Tensor
) -> Tensor:
    """Latents `(S, ..., 1, *event)` with one unit of each of some particles moved."""
    flat = value.reshape(len(value), -1).clone()
    mean, sd = (moment.expand(value.shape).reshape(flat.shape) for moment in (mean, sd))
    flat[rows, units] = mean[rows, units] + positions.to(flat) * sd[rows, units]
    return flat.reshape(value.shape)


def traverse(
    model: Program,
    guide: Program,
    x: Tensor,
    index: Tensor | None = None,
    *,
    datum: int = 0,
    num_units: int | None = None,
    num_steps: int = 9,
    span: float = 3.0,
    seed: int = 0,
) -> Traversals:
    """Move the units of one datum's latent, those of the largest rates first.

    Args:
        model, guide: Pyro programs `program(x, index)`.
        x: data `(N, *shape)`, at least two, on which the rates are measured.
        index: rows of the dataset `(N,)`; 0..N-1 unless given.
        datum: the row of x whose latent is moved.
        num_units: how many units; the active ones, ten at most, unless given.
        num_steps: positions of each unit.
        span: the last position, in standard deviations of the prior; the first is -span.
        seed: of the draws of a guide without means.

    Raises:
        ValueError: numbers out of range, no latent of any real numbers, programs that do not match,
            observations without a mean.

    Example:
        >>> from pyro_vae import ExactGuide, LinearGaussian
        >>> model = LinearGaussian(5, 2)
        >>> traverse(model, ExactGuide(model), torch.randn(20, 5)).x.shape
        torch.Size([2, 9, 5])
    """
    if num_units is not None:
        check_integer("num_units", num_units, 1, _MOST)
    check_integer("num_steps", num_steps, 2, _MOST_STEPS)
    check_positive("span", span)
    check_seed("seed", seed)
    called(guide, "guide")
    check_rows("x", x, least=2)
    check_integer("datum", datum, 0, len(x) - 1)

    with opened(model, guide, x, index, seed=seed) as pair:
        latents, at = centres(pair)
        names, rates = _ranked(pair, latents, num_units)
        row = torch.tensor([datum], device=pair.x.device)
        one = pair.take(row)
        own = {name: z.index_select(pair.depth, row) for name, z in latents.items()}

        positions = torch.linspace(-span, span, num_steps)
        few = max(1, _ROWS // num_steps)  # units that are moved in one run
        parts = [names[first : first + few] for first in range(0, len(names), few)]
        means = torch.cat([_moved(one, own, part, positions) for part in parts])
        told = tuple(name for name, _, _ in names)
        centre = decoded(one, own)[0, 0]
        return Traversals(one.x[0].cpu(), centre, means, told, rates, positions, at)


_Unit = tuple[str, str, int]
"""Its name, its site, and the place in it."""


def _ranked(pair: Pair, latents: Latents, num_units: int | None) -> tuple[list[_Unit], Tensor]:
    """Units that are real numbers, by their rates; by how much their means vary where the guide
    does not tell its rates.
    """
    sites = latent_sites(pair)
    hanging = [site["name"] for site in sites if hasattr(site["fn"], "of_states")]
    if hanging:
        raise ValueError(
            f"model: its latents {hanging} depend on discrete ones that are summed out, and their"
            " prior has another mean and deviation for each state, to be moved by: use"
            " interpolate, or draw the discrete ones in the guide"
        )
    real = [site["name"] for site in sites if is_line(site)]
    units: dict[str, _Unit] = {}
    spread = {}
    for site in real:
        values = units_of(latents[site], pair.depth)[0]  # (N, units)
        for place, name in enumerate(unit_names(site, values.shape[1])):
            units[name], spread[name] = (name, site, place), values[:, place].var().item()
    if not units:
        raise ValueError(
            "model: got no latent of a datum that is any real number, expected one that can be"
            " moved along the line"
        )

    found = latent_units(pair.model, pair.guide, pair.x, pair.index)
    rates = {} if found is None else dict(zip(found.names, found.rates.tolist(), strict=True))
    active = [] if found is None else found.active.tolist()
    order = sorted(units, key=lambda name: (rates.get(name, 0.0), spread[name]), reverse=True)

    usual = max(1, min(_USUAL, sum(active) if found is not None else _USUAL))
    chosen = order[: usual if num_units is None else num_units]
    told = torch.tensor([rates.get(name, torch.nan) for name in chosen])
    return [units[name] for name in chosen], told


def _moved(pair: Pair, latents: Latents, units: list[_Unit], positions: Tensor) -> Tensor:
    """Means at the latents of one datum with each unit at each position, `(U, S, *shape)`."""
    program = poutine.uncondition(called(pair.model, "model"))
    handler = Substitute(latents)
    trace = run_particles(program, pair.x, pair.index, 1, pair.depth, handler)
    places = {name: _place(trace.nodes[name]) for name in latents}

    steps = len(positions)
    moves = {}
    for site in {site for _, site, _ in units}:
        own = [number for number, (_, other, _) in enumerate(units) if other == site]
        numbers = torch.tensor(own)
        rows = (numbers[:, None] * steps + torch.arange(steps)).flatten()
        which = torch.tensor([units[number][2] for number in own]).repeat_interleave(steps)
        moves[site] = (rows, which, positions.repeat(len(own)))

    number, moved = len(units) * steps, _Moved(places, moves)
    means = means_under(moved, pair, number, tuple(latents))[:, 0].cpu()
    return means.reshape(len(units), steps, *means.shape[1:])


def _place(site: Any) -> _Place:
    if not is_line(site) or mean_of(site["fn"]) is None:
        return _Place(site["value"], None, None)
    return _Place(site["value"], site["fn"].mean, site["fn"].stddev)
