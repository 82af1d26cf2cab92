"""Draws of guides beside those of NUTS, for a few units of one datum: what a guide makes of a
posterior that is too large to be seen whole.

The units are those of the narrowest posterior, by its standard deviation: of units of one prior
those about which the datum says most. Means and standard deviations of all units are compared by
`agreement`; the pairs show besides what a family cannot express, such as correlations and modes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_vae.arguments import check_integer, check_kind, check_seed
from pyro_vae.diagnostics.posterior import plain_guides
from pyro_vae.diagnostics.reference import Reference
from pyro_vae.programs.calls import Program
from pyro_vae.programs.inputs import check_numbers
from pyro_vae.programs.pair import opened
from pyro_vae.programs.parts import own_numbers
from pyro_vae.programs.protocols import Fitted
from pyro_vae.results import Result


@dataclass(frozen=True, repr=False)
class PosteriorPairs(Result):
    """Draws of U units of one datum.

    Attributes:
        names: of the units, the narrowest posterior first.
        reference: draws of the posterior by NUTS, all chains together, `(S, U)`.
        guides: draws of the guides, `(S, U)` each, by name.
        datum: its place among the data of the reference.
        state: whether NUTS can be believed, in a sentence.
    """

    names: tuple[str, ...]
    reference: Tensor
    guides: dict[str, Tensor]
    datum: int
    state: str

    @property
    def shifts(self) -> dict[str, Tensor]:
        """Difference of the means in standard deviations of the posterior, `(U,)`, by guide."""
        mean, std = self.reference.mean(0), self.reference.std(0)
        return {name: (draws.mean(0) - mean) / std for name, draws in self.guides.items()}

    @property
    def ratios(self) -> dict[str, Tensor]:
        """The guide's standard deviation over the posterior's, `(U,)`, by guide."""
        std = self.reference.std(0)
        return {name: draws.std(0) / std for name, draws in self.guides.items()}

    def headline(self) -> str:
        beside = f"{len(self.guides)} guides beside NUTS"
        return f"{beside}, {len(self.names)} units of datum {self.datum}"

    def figures(self) -> Iterator[tuple[str, str]]:
        for name in self.guides:
            shift, ratio = self.shifts[name], self.ratios[name]
            far = f"means off by at most {shift.abs().max():.2f} standard deviations"
            yield name, f"{far}, these {ratio.min():.2f} to {ratio.max():.2f} of the posterior's"
        yield "units", ", ".join(self.names)
        yield "verdict", self.state

    def summary(self) -> dict[str, Any]:
        """Shifts and ratios of the units, by guide."""
        shifts = {name: values.tolist() for name, values in self.shifts.items()}
        ratios = {name: values.tolist() for name, values in self.ratios.items()}
        return {"units": list(self.names), "shift": shifts, "ratio": ratios, "datum": self.datum}

    def columns(self) -> dict[str, Any]:
        """A row for each draw."""
        parts = {"posterior": self.reference} | self.guides
        source = [name for name, draws in parts.items() for _ in range(len(draws))]
        drawn = torch.cat(list(parts.values()))
        return {"source": source} | dict(zip(self.names, drawn.T, strict=True))


def posterior_pairs(
    guides: Mapping[str, Program | Fitted],
    reference: Reference,
    x: Tensor,
    index: Tensor | None = None,
    *,
    datum: int = 0,
    num_units: int = 4,
    num_draws: int = 1000,
    seed: int = 0,
) -> PosteriorPairs:
    """Set draws of guides beside a reference posterior of the same data.

    Args:
        guides: by their names, Pyro programs with the reference's sites, or what `fit_local` found.
        reference: from `reference_posterior` for the same `x` and `index`.
        x: data `(N, *shape)`.
        index: their numbers `(N,)`, for guides with parameters of each.
        datum: its place among them.
        num_units: most units to show, those of the narrowest posterior.
        num_draws: of each guide.
        seed: of these draws.

    Raises:
        ValueError: other sites or data than the reference's, numbers out of range.

    Example:
        >>> from pyro_vae import ExactGuide, LinearGaussian, reference_posterior
        >>> model, x = LinearGaussian(5, 2), torch.randn(3, 5)
        >>> found = reference_posterior(model, x, num_chains=2, num_samples=9, num_warmup=9)
        >>> posterior_pairs({"exact": ExactGuide(model)}, found, x).reference.shape
        torch.Size([18, 2])
    """
    plain = plain_guides(guides)
    if not plain:
        raise ValueError("guides: got none, expected at least one, by its name")
    check_kind("reference", reference, Reference, "a Reference, as reference_posterior returns it")
    check_numbers({"num_draws": (num_draws, 2)})
    check_integer("num_units", num_units, 1)
    check_seed("seed", seed)
    index = own_numbers(x, *plain.values()) if index is None else index

    drawn, theirs = {}, torch.empty(0)
    names: tuple[str, ...] = ()
    for name, guide in plain.items():
        with opened(guide, guide, x, index, seed=seed, check=False) as pair:
            check_integer("datum", datum, 0, len(pair) - 1)
            latents, _ = pair.sample(num_draws)
        events = {site: values.dim() - 1 - pair.depth for site, values in latents.items()}
        names, theirs = _of_datum(reference, events, len(pair), datum)
        mine = [
            latents[site].movedim(pair.depth, 1)[:, datum].flatten(1) for site in reference.draws
        ]
        drawn[name] = torch.cat(mine, 1).double().cpu()

    order = theirs.std(0).argsort()[:num_units]
    chosen = tuple(names[unit] for unit in order.tolist())
    own = {name: draws[:, order] for name, draws in drawn.items()}
    return PosteriorPairs(chosen, theirs[:, order], own, datum, reference.verdict)


def _of_datum(
    reference: Reference, events: Mapping[str, int], num_data: int, datum: int
) -> tuple[tuple[str, ...], Tensor]:
    """Names and draws `(C * S, U)` of all units of a datum, by the dimensions of the sites' events.

    Raises:
        ValueError: other sites or data than the guide's.
    """
    if events.keys() != reference.draws.keys():
        raise ValueError(
            f"guides: got sites {sorted(events)}, expected the reference's"
            f" {sorted(reference.draws)}"
        )

    names: list[str] = []
    parts = []
    for site, draws in reference.draws.items():
        place = draws.dim() - 1 - events[site]  # the data's dimension
        if place < 2 or draws.shape[place] != num_data:
            raise ValueError(
                f"x: got {num_data} data, expected those of the reference, of site shape"
                f" {tuple(draws.shape[2:])}"
            )
        values = draws.movedim(place, 2)[:, :, datum].flatten(0, 1).flatten(1)
        width = values.shape[1]
        names += [site] if width == 1 else [f"{site}[{unit}]" for unit in range(width)]
        parts.append(values.double().cpu())
    return tuple(names), torch.cat(parts, 1)
