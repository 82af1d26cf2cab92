"""The posterior of one datum and what guides take it for, side by side.

Two latent values are few enough to be seen whole: quadrature finds where the posterior is, and how
much of it there is, so that its density and every guide's are known at each point of one grid, and

    KL(q || p(z | x)) = sum_g q(z_g) (log q(z_g) - log p(z_g | x)) h_1 h_2

is what the guide loses, log p(x) - L[q], without noise. The error falls faster than any power of h
as long as q is smooth between two points; its mass on the grid says whether it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_vae.arguments import check_integer, check_kind, check_rows, refuse
from pyro_vae.evidence.path import Path
from pyro_vae.evidence.quadrature import Quadrature, integrated, joint_at, settled
from pyro_vae.programs.calls import Program, called
from pyro_vae.programs.coordinates import Coordinates
from pyro_vae.programs.pair import opened
from pyro_vae.programs.parts import own_numbers
from pyro_vae.programs.protocols import Fitted, offers
from pyro_vae.results import Result

_REACH = 6.0  # standard deviations that the grid covers on each side, of posterior and guides
_DRAWS = 1000  # of a guide, for its mean and standard deviation
_ROWS = 16_384  # points that are scored at once
_WHOLE = 0.01  # how far the mass on the grid may be from 1

Densities = dict[str, Tensor]
Region = tuple[Tensor, Tensor]


@dataclass(frozen=True, repr=False)
class PosteriorGrid(Result):
    """Log-densities of a datum's two latent values on a grid, nats.

    Attributes:
        names: of the two latent values, such as "latent[0]".
        axes: their values along the grid, `(side,)` each.
        exact: log p(z | x) `(side, side)`, the first latent value along the rows.
        guides: log q(z | x) `(side, side)`, by name.
        log_px: log p(x) by quadrature.
        log_px_error: of quadrature; above 0.01 nats it is not to be believed.
    """

    names: tuple[str, str]
    axes: tuple[Tensor, Tensor]
    exact: Tensor
    guides: Densities
    log_px: float
    log_px_error: float

    @property
    def cell(self) -> float:
        """Area of a cell of the grid."""
        first, second = ((line[-1] - line[0]) / (len(line) - 1) for line in self.axes)
        return (first * second).item()

    @property
    def masses(self) -> dict[str, float]:
        """Probability on the grid of "posterior" and of each guide: 1 where it sees all of it."""
        found = {"posterior": self.exact} | self.guides
        return {
            name: log_density.exp().sum().item() * self.cell for name, log_density in found.items()
        }

    @property
    def kl(self) -> dict[str, float]:
        """KL(q || p(z | x)) of each guide in nats, which is log p(x) less its ELBO."""
        found = {}
        for name, log_q in self.guides.items():
            held = log_q > -torch.inf
            terms = log_q[held].exp() * (log_q[held] - self.exact[held])
            found[name] = terms.sum().item() * self.cell
        return found

    @property
    def verdict(self) -> str:
        """Whether the grid can be believed, in a sentence."""
        missed = [name for name, mass in self.masses.items() if not abs(mass - 1) <= _WHOLE]
        if missed:
            return f"NOT to be believed: the grid is too coarse for {', '.join(missed)}"
        told = f"log p(x) by quadrature, with an error of about {self.log_px_error:.1g} nats"
        return f"the grid holds all of each density; {told}"

    def headline(self) -> str:
        rows, columns = self.exact.shape
        return f"posterior of one datum and {len(self.guides)} guides, a grid of {rows} x {columns}"

    def figures(self) -> Iterator[tuple[str, str]]:
        yield "log p(x)", f"{self.log_px:.3f} nats"
        for name, kl in self.kl.items():
            yield name, f"KL(q || p(z | x)) {kl:.4f} nats"
        yield "verdict", self.verdict

    def summary(self) -> dict[str, Any]:
        """log p(x), and the KL and the mass on the grid by guide."""
        found = {"log_px": self.log_px, "log_px_error": self.log_px_error}
        return found | {"kl": self.kl, "masses": self.masses}

    def columns(self) -> dict[str, Tensor]:
        """A row for each point of the grid."""
        points = torch.cartesian_prod(*self.axes)
        found = dict(zip(self.names, points.T, strict=True)) | {"posterior": self.exact.flatten()}
        return found | {name: log_q.flatten() for name, log_q in self.guides.items()}


def posterior_grid(
    model: Program,
    guides: Mapping[str, Program | Fitted],
    x: Tensor,
    index: Tensor | None = None,
    *,
    side: int = 201,
) -> PosteriorGrid:
    """The exact posterior of one datum's two latent values on a grid, and every guide's density.

    Args:
        model: Pyro program with two real latent values per datum.
        guides: by their names, or what `fit_local` found; each must know its density at a given
            latent.
        x: one datum `(1, *shape)`.
        index: its number `(1,)`, for guides with parameters of each datum.
        side: points of the grid on a side; it covers six standard deviations of the posterior and
            of each guide.

    Raises:
        ValueError: a model with other latents, more than one datum, a guide without a fixed
            density.

    Example:
        >>> from pyro_vae import ExactGuide, LinearGaussian
        >>> model = LinearGaussian(5, 2)
        >>> found = posterior_grid(model, {"exact": ExactGuide(model)}, model.sample(1))
        >>> abs(found.kl["exact"]) < 1e-4
        True
    """
    check_integer("side", side, 51, 2001)
    plain = plain_guides(guides)
    check_rows("x", x)
    if len(x) != 1:
        raise ValueError(f"x: got {len(x)} data, expected one, of shape (1, *shape)")
    index = own_numbers(x, *plain.values()) if index is None else index

    points = Quadrature().num_points
    with opened(model, None, x, index, seed=0) as pair:
        path = Path(pair)
        if path.layout.bounded:
            raise ValueError(
                f"model: its latents {path.layout.bounded} are bounded, expected two real numbers,"
                " whose densities a grid can show"
            )
        if path.size != 2:
            raise ValueError(
                f"model: got {path.size} latent values per datum, expected two: draws of more are"
                " set side by side by posterior_pairs"
            )
        grid = settled(path, points)
        log_px, error = integrated(path, grid, points)

        regions = [(grid.centre, grid.std)]
        regions += [_region(path.layout, model, guide, x, index) for guide in plain.values()]
        axes = _axes(regions, side)
        z = torch.cartesian_prod(*axes).to(grid.centre)
        exact = (joint_at(path, z) - log_px).reshape(side, side).cpu()

    found = {}
    for name, guide in plain.items():
        with opened(model, guide, x, index, seed=0) as pair:
            parts = [
                pair.log_guide(path.layout.unpack(part[:, None])[0]) for part in z.split(_ROWS)
            ]
        found[name] = torch.cat(parts)[:, 0].double().reshape(side, side).cpu()
    return PosteriorGrid(_names(path.layout), axes, exact, found, log_px, error)


def plain_guides(guides: Mapping[str, Program | Fitted]) -> dict[str, Program]:
    """The guides themselves, by their names, of those that classical inference found too."""
    check_kind("guides", guides, Mapping, "guides by their names")
    plain: dict[str, Program] = {}
    for name, guide in guides.items():
        if not isinstance(name, str) or name in ("posterior", "NUTS"):
            refuse("guides", name, "a name for each, other than 'posterior' and 'NUTS'")
        program = guide.guide if offers(guide, Fitted) else guide
        plain[name] = called(program, "guides")  # type: ignore[arg-type]
    return plain


def _region(
    layout: Coordinates, model: Program, guide: Program, x: Tensor, index: Tensor | None
) -> Region:
    """Mean and standard deviation of a guide `(2,)` each, by its draws."""
    with opened(model, guide, x, index, seed=0) as pair:
        pair.check_density()
        draws = layout.vectors(pair.sample(_DRAWS)[0])[:, 0]
    return draws.mean(0), draws.std(0)


def _axes(regions: Sequence[Region], side: int) -> tuple[Tensor, Tensor]:
    """Values along each axis that cover all regions, float64."""
    low = torch.stack([centre - _REACH * std for centre, std in regions]).min(0).values.double()
    high = torch.stack([centre + _REACH * std for centre, std in regions]).max(0).values.double()
    steps = torch.linspace(0, 1, side, dtype=torch.double)
    first, second = (low.cpu() + steps[:, None] * (high - low).cpu()).unbind(-1)
    return first, second


def _names(layout: Coordinates) -> tuple[str, str]:
    """Names of the two latent values: the site's, with the place in it where it has several."""
    names = []
    for site, size in zip(layout.names, layout.sizes, strict=True):
        names += [site] if size == 1 else [f"{site}[{unit}]" for unit in range(size)]
    first, second = names
    return first, second
