"""A family over all continuous latents of a program at once, whatever they are called.

The family is one over R^P, and the vector's parts are the sites' values, through the bijections of
their supports (`programs/coordinates.py`):

    u ~ family,    z_site = t_site(u_site),    log q(z) = log q(u) - log |dz/du|

As a guide each site is a statement of its own, inside its own plates. They are drawn together, and
so is their density: only the sum over all sites is one, and it stands in the last of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyro_vae.arguments import check_callable, check_index, check_kind, check_rows, refuse
from pyro_vae.guides.families import Family
from pyro_vae.programs.calls import Program
from pyro_vae.programs.coordinates import Coordinates, Latents, Place
from pyro_vae.programs.evaluation import evaluation

_FEW = 16  # data that a model is run on to see its latents


def over_all(
    model: Program, x: Tensor, family: Callable[[int], Family], index: Tensor | None = None
) -> Family:
    """A family over all continuous latents of a model; the plain one where that is one vector of
    real numbers called "latent".
    """
    check_rows("x", x)
    if index is not None:
        check_index("index", index, len(x))
    check_callable("family", family, "a class of families, such as FullRank")
    if isinstance(family, Family):
        refuse("family", family, "a class of families, such as FullRank, and not one of them")

    few = x[:_FEW], None if index is None else index[:_FEW]
    with evaluation(model, device=x.device):
        coordinates = Coordinates.of(model, *few)
    made = family(coordinates.size)
    check_kind("family", made, Family, "a class of families, such as FullRank")
    return made if _is_plain(coordinates) else Joint(made, coordinates)


def _is_plain(coordinates: Coordinates) -> bool:
    """Whether a model has one vector of real numbers, called "latent", and nothing else."""
    first = coordinates.places[0]
    named = coordinates.names == ["latent"] and len(first.event) == 1
    return named and first.support is None and not first.plates


class Joint(Family):
    """A family over the latents that coordinates name.

    Args:
        family: over vectors of as many numbers as the coordinates have.
        coordinates: where each site's values are in them.
    """

    def __init__(self, family: Family, coordinates: Coordinates) -> None:
        check_kind("family", family, Family, "a Family such as FullRank(5)")
        check_kind("coordinates", coordinates, Coordinates, "Coordinates, such as of a model")
        if family.dim != coordinates.size:
            raise ValueError(
                f"family: got {family.dim} units, expected {coordinates.size}, the numbers of the"
                f" latents {', '.join(coordinates.names)}"
            )
        self.family, self.coordinates = family, coordinates
        self.dim, self.blocks = family.dim, family.blocks

    @property
    def name(self) -> str:
        return f"{self.family.name} over {', '.join(self.coordinates.names)}"

    def __call__(self, params: Tensor) -> dist.TorchDistribution:
        return self.family(params)

    def standard(self) -> Tensor:
        return self.family.standard()

    def num_shared(self, other: Family) -> int:
        """How many parameters mean the same in another family, which is of the same latents."""
        if not isinstance(other, Joint) or other.coordinates.names != self.coordinates.names:
            return 0
        return self.family.num_shared(other.family)

    def around(self, other: Family) -> Family:
        return other if isinstance(other, Joint) else Joint(other, self.coordinates)

    def draw(self, q: dist.TorchDistribution, num_data: int) -> Latents:
        """The statements of a guide: each site in its plates; their values by name."""
        together = _Together(q, self.coordinates)
        drawn: Latents = {}
        data = pyro.plate("data", num_data, dim=-1)
        for place in self.coordinates.places:
            with ExitStack() as plates:
                plates.enter_context(data)
                for dim, name in place.plates.items():
                    size = place.middle[dim + len(place.middle) + 1]
                    plates.enter_context(pyro.plate(name, size, dim=dim))
                before = dict(drawn) if place is self.coordinates.places[-1] else None
                fn = _Part(together, place, (*_used(place), num_data), before)
                drawn[place.name] = pyro.sample(place.name, fn)
        return drawn


class _Together:
    """What the parts of one run share: q, and its draw, made when the first of them is drawn."""

    def __init__(self, q: dist.TorchDistribution, coordinates: Coordinates) -> None:
        self.q, self.coordinates = q, coordinates
        self.told: Latents = {}  # what the statements drew, in the shapes of their sites
        self._drawn: tuple[Tensor, Latents, Tensor | None] | None = None

    def value(self, name: str, lead: torch.Size) -> Tensor:
        """The drawn values of a site `(*lead, *middle, B, *event)`."""
        if self._drawn is None:
            u = self.q.rsample(lead)
            self._drawn = u, *self.coordinates.unpack(u)
        return self._drawn[1][name]

    def log_prob(self, values: Latents, full: Latents) -> Tensor:
        """log q(z) `(*lead, B)` at the values of all sites; `full` has all of the plates'
        dimensions. Where they are those that were drawn, no bijection need be undone.
        """
        if self._drawn is not None and all(self.told.get(n) is v for n, v in values.items()):
            u, _, log_det = self._drawn
        else:
            u, log_det = self.coordinates.pack(full)
        log_q = self.q.log_prob(u)
        return log_q if log_det is None else log_q - log_det


class _Part(dist.TorchDistribution):
    """One site of several that are drawn together; the last, which knows the values of those
    `before` it, has the density of all.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True
    shares_density = True  # with other sites: of this one alone there is none

    def __init__(
        self,
        together: _Together,
        place: Place,
        batch: tuple[int, ...],
        before: Latents | None,
    ) -> None:
        self.together, self.place, self.before = together, place, before
        super().__init__(torch.Size(batch), torch.Size(place.event), validate_args=False)

    @constraints.dependent_property
    def support(self) -> Any:
        """The site's, as in the model."""
        if self.place.support is not None:
            return self.place.support
        return constraints.independent(constraints.real, len(self.place.event))

    def expand(self, batch_shape: Any, _instance: Any = None) -> _Part:
        return _Part(self.together, self.place, tuple(batch_shape), self.before)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        lead = _lead(self.batch_shape, self.place)
        value = self.together.value(self.place.name, lead)
        value = value.reshape(*self.batch_shape, *self.event_shape)
        self.together.told[self.place.name] = value
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        """Of all sites, at this value of the last; 0 in the others. A value that was put in may
        have particles that this site's own batch knows nothing of.
        """
        batch = value.shape[: value.dim() - len(self.place.event)]
        if self.before is None:
            return value.new_zeros(()).expand(batch)

        places = self.together.coordinates.places
        values = {**self.before, self.place.name: value}
        full = {place.name: _full(place, values[place.name]) for place in places}
        total = self.together.log_prob(values, full)

        middle = self.place.middle
        spread = total.reshape(*total.shape[:-1], *[1] * len(middle), total.shape[-1])
        spread = spread.expand(*total.shape[:-1], *middle, total.shape[-1])
        return (spread / math.prod(middle)).reshape(batch)


def _lead(batch: torch.Size, place: Place) -> torch.Size:
    """The dimensions of particles in the batch of a site."""
    return batch[: max(0, len(batch) - len(place.middle) - 1)]


def _full(place: Place, value: Tensor) -> Tensor:
    """A site's values with all of the plates' dimensions, `(*lead, *middle, B, *event)`."""
    batch = value.shape[: value.dim() - len(place.event)]
    return value.reshape(*_lead(batch, place), *place.middle, batch[-1], *place.event)


def _used(place: Place) -> tuple[int, ...]:
    """Sizes of the plates from the outermost that the site is in."""
    sizes = list(place.middle)
    while sizes and len(sizes) + 1 > -min([-1, *place.plates]):
        sizes.pop(0)
    return tuple(sizes)
