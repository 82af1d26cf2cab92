"""All continuous latents of a datum as one vector of real numbers, whatever its sites are called,
in whatever plates they are, and whatever values they may take.

    u  (..., B, P)   <->   {site: (..., *middle, B, *event)},    log p(u) = log p(z) + log |dz/du|

A site on the line keeps its values. Any other has the bijection that Pyro knows for its support
(`biject_to`): a positive one is exp(u), a probability a logistic function, a point of the simplex
breaks sticks. `middle` are the plates between particles and data, of size 1 where a site is in
none.

References:
    Kucukelbir, Tran, Ranganath, Gelman, Blei (2017). Automatic differentiation variational
        inference. JMLR 18(14).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import biject_to

from pyro_vae.programs.calls import Program
from pyro_vae.programs.evaluation import isolated_noise
from pyro_vae.programs.running import latent_sites
from pyro_vae.programs.sites import (
    is_circle,
    is_discrete,
    is_line,
    is_point,
    support_name,
    support_of,
)

Latents = dict[str, Tensor]


@dataclass(frozen=True)
class Place:
    """Where a site's values are in the vector of a datum.

    Attributes:
        name: of the site.
        middle: sizes of the plates between particles and data, 1 where it is in none.
        event: its values' shape.
        plates: names of the plates that it is in, by dimension, the data's left out.
        support: where its values are; None for the line.
        size: numbers that it takes in the vector.
    """

    name: str
    middle: tuple[int, ...]
    event: tuple[int, ...]
    plates: dict[int, str]
    support: Any
    size: int

    @property
    def inner(self) -> tuple[int, ...]:
        """The shape of an unconstrained value."""
        return self.event if self.support is None else _inner(self.support, self.event)

    def values(self, part: Tensor) -> tuple[Tensor, Tensor | None]:
        """Values `(*lead, *middle, B, *event)` of a part `(*lead, B, size)` of the vector, and
        their log |dz/du| `(*lead, B)`; None where that is 0.
        """
        lead = part.dim() - 2
        u = part.reshape(*part.shape[:-1], *self.middle, *self.inner)
        u = u.movedim(lead, lead + len(self.middle))
        if self.support is None:
            return u, None

        transform = biject_to(self.support)
        value = transform(u)
        log_det = transform.log_abs_det_jacobian(u, value)
        return value, _over_all(log_det.movedim(lead + len(self.middle), lead), lead + 1)

    def part(self, value: Tensor) -> tuple[Tensor, Tensor | None]:
        """The other way round."""
        lead = value.dim() - len(self.event) - 1 - len(self.middle)
        u, log_det = value, None
        if self.support is not None:
            transform = biject_to(self.support)
            u = transform.inv(value)
            log_det = transform.log_abs_det_jacobian(u, value)
            log_det = _over_all(log_det.movedim(lead + len(self.middle), lead), lead + 1)
        u = u.movedim(lead + len(self.middle), lead)
        return u.reshape(*u.shape[: lead + 1], self.size), log_det


@dataclass(frozen=True)
class Coordinates:
    """Where each site's values are in the vector of a datum.

    Attributes:
        depth: dimensions of the plates, the data's last.
        places: of the sites, in the order of the program.
    """

    depth: int
    places: tuple[Place, ...]

    @classmethod
    def of(
        cls, model: Program, x: Tensor, index: Tensor | None = None, depth: int | None = None
    ) -> Coordinates:
        """The coordinates of a model's latents, by runs on data `(N, *shape)`.

        Raises:
            ValueError: no latents, or some that are discrete, of a circle, outside the data plate,
                or in a support that differs between data or draws.
        """
        with isolated_noise(x.device):
            sites = latent_sites(model, x, index)
            torch.rand(1, device=x.device)  # so that another run is another draw
            again = latent_sites(model, x, index)
        if not sites:
            raise ValueError("model: got no latent site, expected some to infer")
        _refuse(sites)
        _refuse_moving(sites, again)

        frames = [frame.dim for site in sites for frame in site["cond_indep_stack"]]
        least = -min([-1, *filter(None, frames)])
        depth = max(least, depth or 1)
        return cls(depth, tuple(_place(site, len(x), depth) for site in sites))

    @property
    def size(self) -> int:
        """P, numbers of a datum."""
        return sum(place.size for place in self.places)

    @property
    def sizes(self) -> list[int]:
        """Numbers of each site."""
        return [place.size for place in self.places]

    @property
    def names(self) -> list[str]:
        """Of the sites."""
        return [place.name for place in self.places]

    @property
    def bounded(self) -> dict[str, str]:
        """The supports, by site name, of those that are not any real numbers."""
        return {p.name: str(p.support) for p in self.places if p.support is not None}

    def unpack(self, u: Tensor) -> tuple[Latents, Tensor | None]:
        """Values by site name of vectors `(*lead, B, P)`, and log |dz/du| `(*lead, B)` of all of
        them; None where that is 0.
        """
        parts = zip(self.places, u.split(self.sizes, -1), strict=True)
        found = {place.name: place.values(part) for place, part in parts}
        log_dets = [log_det for _, log_det in found.values() if log_det is not None]
        return {name: value for name, (value, _) in found.items()}, _sum(log_dets)

    def pack(self, latents: Latents) -> tuple[Tensor, Tensor | None]:
        """The other way round, of values `(*lead, *middle, B, *event)`."""
        found = [place.part(latents[place.name]) for place in self.places]
        log_dets = [log_det for _, log_det in found if log_det is not None]
        return torch.cat([part for part, _ in found], -1), _sum(log_dets)

    def vectors(self, latents: Latents) -> Tensor:
        """`pack` without the density."""
        return self.pack(latents)[0]

    def of_one_run(self, latents: Latents) -> Tensor:
        """Vectors `(1, N, P)` of values from a run without particles, as `simulate` makes them."""
        full = {}
        for place in self.places:
            value = latents[place.name]
            num_data = value.shape[value.dim() - len(place.event) - 1]
            full[place.name] = value.reshape(1, *place.middle, num_data, *place.event)
        return self.vectors(full)


def _place(site: Any, num_data: int, depth: int) -> Place:
    frames = [frame for frame in site["cond_indep_stack"] if frame.vectorized]
    sizes = {frame.dim: frame.size for frame in frames}
    if sizes.pop(-1, None) != num_data:
        raise ValueError(
            f"site {site['name']!r}: not inside a plate of size {num_data} at dim -1, expected"
            " every latent of a datum inside `with pyro.plate('data', x.shape[0], dim=-1)`, or the"
            " set as one datum: pv.whole(model) and x[None]"
        )

    middle = tuple(sizes.get(dim, 1) for dim in range(-depth, -1))
    event = tuple(site["fn"].event_shape)
    support = None if is_line(site) else _fixed(support_of(site["fn"]))
    inner = event if support is None else _inner(support, event)
    plates = {frame.dim: frame.name for frame in frames if frame.dim != -1}
    return Place(site["name"], middle, event, plates, support, math.prod((*middle, *inner)))


def _inner(support: Any, event: Sequence[int]) -> tuple[int, ...]:
    """The shape of an unconstrained value."""
    return tuple(biject_to(support).inverse_shape(torch.Size(event)))


def refuse_masked(sites: Sequence[Any]) -> None:
    """Raise a ValueError for latents that a mask takes from some data: what is left of them is
    flat, and has no density.
    """
    for site in sites:
        mask = site["mask"]
        if mask is False or (isinstance(mask, Tensor) and not mask.all()):
            raise ValueError(
                f"model: its latent {site['name']!r} is masked for some data, where it has no"
                " density, expected latents that all data have (obs_mask makes such a latent:"
                " use a mask of the observed distribution, .mask(seen), in its place; or a guide of"
                " your own with the same mask)"
            )


def _refuse(sites: Sequence[Any]) -> None:
    """Raise a ValueError for latents that no vector of real numbers holds."""
    refuse_masked(sites)
    for site in sites:
        told = f"model: its latent {site['name']!r} ({support_name(site)})"
        if is_point(site["fn"]):
            raise ValueError(
                f"{told} is Delta, a point, expected real numbers: use pyro.deterministic in its"
                " place"
            )
        if is_discrete(site):
            raise ValueError(
                f"{told} is discrete, expected real numbers, or any that a bijection makes of them;"
                ' or mark it infer={"enumerate": "parallel"}, and it is summed out'
            )
        if is_line(site):
            continue
        try:
            biject_to(support_of(site["fn"]))
        except (NotImplementedError, AttributeError) as error:
            raise ValueError(f"{told} has no bijection from the real numbers") from error
        if is_circle(site):
            raise ValueError(
                f"{told} is an angle, expected real numbers: use the method Importance, or a unit"
                " vector in its place"
            )


def _refuse_moving(sites: Sequence[Any], again: Sequence[Any]) -> None:
    """Raise a ValueError for a support that is another one in another run."""
    for site, other in zip(sites, again, strict=True):
        if not is_line(site) and _bounds(site["fn"]) != _bounds(other["fn"]):
            raise ValueError(
                f"model: the support of its latent {site['name']!r} depends on other latents,"
                " expected a fixed one: draw a number of a fixed support and transform it"
            )


def _bounds(fn: Any) -> list[float]:
    """The bounds of a distribution's support."""
    fixed = _fixed(support_of(fn))
    found: list[float] = []
    while fixed is not None:
        found += [value for value in vars(fixed).values() if isinstance(value, float)]
        fixed = getattr(fixed, "base_constraint", None)
    return found


def _fixed(support: Any) -> Any:
    """A support with numbers as its bounds, one for all data."""
    made = copy.copy(support)
    for name, value in vars(support).items():
        if name == "base_constraint":
            made.base_constraint = _fixed(value)
        elif isinstance(value, Tensor):
            if value.numel() > 1 and not torch.allclose(value, value.flatten()[0]):
                raise ValueError(
                    f"model: the support {support} of a latent differs between data, expected one"
                    " for all: draw a number of a fixed support and transform it"
                )
            setattr(made, name, value.flatten()[0].item())
        elif isinstance(value, int) and not isinstance(value, bool) and name.endswith("bound"):
            setattr(made, name, float(value))
    return made


def _over_all(values: Tensor, kept: int) -> Tensor:
    """A sum over all dimensions but the first ones."""
    return values.flatten(kept).sum(-1) if values.dim() > kept else values


def _sum(parts: Sequence[Tensor]) -> Tensor | None:
    """A sum, None of nothing."""
    return sum(parts[1:], parts[0]) if parts else None
