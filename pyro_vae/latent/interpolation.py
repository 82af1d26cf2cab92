"""From datum to datum through the latent space: the means of p(x | z) on the way from the guide's
mean of each datum to that of the next.

A space in which the way between two data looks like data all along is one that the model has
filled. The path is straight, or along a great circle (`paths.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pyro_vae.arguments import check_choice, check_integer, check_rows, check_seed
from pyro_vae.latent.centres import (
    Centre,
    centres,
    decoded,
    latent_sites,
    told_of,
    units_of,
    value_columns,
)
from pyro_vae.latent.paths import Path, linear, spherical
from pyro_vae.programs.calls import Program, called
from pyro_vae.programs.pair import Latents, Pair, opened
from pyro_vae.programs.sites import is_discrete, is_line, support_name
from pyro_vae.results import Result, counted

_MOST = 100  # steps of a way


@dataclass(frozen=True, repr=False)
class Interpolation(Result):
    """The ways between the latents of consecutive data.

    Attributes:
        data: `(P + 1, *shape)`; way p leads from datum p to datum p + 1.
        x: means of p(x | z) on the way, `(P, S, *shape)`.
        latents: z by site name, `(P, S, units)` each.
        positions: t, from 0 to 1, `(S,)`.
        path: "linear" or "spherical".
        at: "mean" where the ends are the guide's means, "draw" where they are draws of it.
    """

    data: Tensor
    x: Tensor
    latents: dict[str, Tensor]
    positions: Tensor
    path: Path
    at: Centre

    def headline(self) -> str:
        ends = "the guide's means" if self.at == "mean" else "draws of the guide"
        ways = f"{counted(len(self.x), 'ways')} of {counted(len(self.positions), 'steps')}"
        return f"{ways} between {ends}, {self.path}"

    def figures(self) -> Iterator[tuple[str, str]]:
        for name, z in self.latents.items():
            yield f"length of {name}", told_of((z[:, -1] - z[:, 0]).norm(dim=-1))
        yield "values", told_of(self.x)

    def summary(self) -> dict[str, Any]:
        """How many ways, of what kind, and the mean length of them in the latent space."""
        ends = torch.cat([z[:, -1] - z[:, 0] for z in self.latents.values()], -1)
        told = {"num_ways": len(self.x), "num_steps": len(self.positions), "path": self.path}
        return told | {"at": self.at, "length": ends.norm(dim=-1).mean().item()}

    def columns(self) -> dict[str, Any]:
        """A row for each step of each way, a column for each value of the mean there."""
        ways, steps = self.x.shape[:2]
        way = torch.arange(ways).repeat_interleave(steps)
        return {"way": way, "position": self.positions.repeat(ways)} | value_columns(self.x, 2)


def interpolate(
    model: Program,
    guide: Program,
    x: Tensor,
    index: Tensor | None = None,
    *,
    num_steps: int = 9,
    path: Path = "linear",
    seed: int = 0,
) -> Interpolation:
    """Walk from the guide's mean of each datum to that of the next.

    Args:
        model, guide: Pyro programs `program(x, index)`; a model that reads x or `index` gets those
            of the datum that a way begins at.
        x: data `(N, *shape)`, at least two: N - 1 ways.
        index: rows of the dataset `(N,)`; 0..N-1 unless given.
        num_steps: of each way, both ends included.
        path: "linear", or "spherical" for latents that are any real numbers.
        seed: of the draws of a guide without means.

    Raises:
        ValueError: fewer than two data, discrete latents, a spherical path through latents that are
            not real numbers, programs that do not match, observations without a mean.

    Example:
        >>> from pyro_vae import ExactGuide, LinearGaussian
        >>> model = LinearGaussian(5, 2)
        >>> interpolate(model, ExactGuide(model), torch.randn(4, 5)).x.shape
        torch.Size([3, 9, 5])
    """
    check_integer("num_steps", num_steps, 2, _MOST)
    check_choice("path", path, Path)
    check_seed("seed", seed)
    called(guide, "guide")
    check_rows("x", x, least=2)

    with opened(model, guide, x, index, seed=seed) as pair:
        _check_sites(pair, path)
        ends, at = centres(pair)
        places = torch.arange(len(pair) - 1, device=pair.x.device)
        positions = torch.linspace(0, 1, num_steps, dtype=torch.float64)
        way = partial(_way, places=places, positions=positions, depth=pair.depth, path=path)
        latents = {name: way(value) for name, value in ends.items()}

        means = decoded(pair.take(places), latents).movedim(0, 1)
        found = _by_way(latents, pair.depth)
        return Interpolation(pair.x.cpu(), means, found, positions.to(means.dtype), path, at)


def _check_sites(pair: Pair, path: Path) -> None:
    """Refuse latents between which there is no way."""
    for site in latent_sites(pair):
        if is_discrete(site) or (path == "spherical" and not is_line(site)):
            raise ValueError(
                f"path: got {path!r}, but the latent {site['name']!r} is {support_name(site)}:"
                " a straight path needs continuous latents, a spherical one real vectors"
            )


def _way(ends: Tensor, *, places: Tensor, positions: Tensor, depth: int, path: Path) -> Tensor:
    """Latents `(S, ..., P, *event)` between those `(1, ..., N, *event)` at consecutive places."""
    a, b = (ends.index_select(depth, places + step) for step in (0, 1))
    shape = a.movedim(depth, 1).shape[1:]  # (P, ..., *event)
    route = spherical if path == "spherical" else linear
    units = route(units_of(a, depth)[0], units_of(b, depth)[0], positions.to(ends))  # (S, P, units)
    return units.reshape(len(positions), *shape).movedim(1, depth)


def _by_way(latents: Latents, depth: int) -> dict[str, Tensor]:
    """Latents by site name, `(P, S, units)`."""
    return {name: units_of(z, depth).movedim(0, 1).cpu() for name, z in latents.items()}
