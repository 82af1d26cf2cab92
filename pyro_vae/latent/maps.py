"""A map of a latent of two numbers: the means of p(x | z) on a grid that has as much of the prior
between its lines everywhere.

    z_1 = F_1^-1(u_1),   z_2 = F_2^-1(u_2 | z_1),   u = (k + 1/2) / side,  k = 0..side-1

with F the distribution function of the model's prior; for a standard normal prior the grid is dense
in the middle and wide at the edges. Two numbers that depend on each other take the quantiles of the
second given the first.

References:
    Kingma, Welling (2014). Auto-encoding variational Bayes. arXiv:1312.6114. Appendix A.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import Independent, LowRankMultivariateNormal, MultivariateNormal, Normal

from pyro_vae.arguments import check_integer
from pyro_vae.latent.centres import told_of, unit_names, value_columns
from pyro_vae.programs.calls import Program
from pyro_vae.programs.inputs import check_like
from pyro_vae.programs.pair import Pair, opened
from pyro_vae.programs.simulation import means_under, simulated
from pyro_vae.programs.sites import is_discrete, sample_sites
from pyro_vae.programs.traces import run_particles
from pyro_vae.programs.tracing import Refusal
from pyro_vae.results import Result

_MOST = 50  # of a side
_NUMBERS = 2


@dataclass(frozen=True, repr=False)
class Manifold(Result):
    """Means of p(x | z) on a grid of quantiles of the prior.

    Attributes:
        x: `(side, side, *shape)`; x[i, j] has z_1 at its i-th and z_2 at its j-th quantile.
        z: `(side, side, 2)`.
        levels: u of the quantiles `(side,)`.
        units: what z_1 and z_2 are called.
    """

    x: Tensor
    z: Tensor
    levels: Tensor
    units: tuple[str, ...]

    def headline(self) -> str:
        side = len(self.levels)
        return f"means of p(x | z) on a grid of {side} x {side} quantiles of the prior"

    def figures(self) -> Iterator[tuple[str, str]]:
        for name, z in zip(self.units, self.z.unbind(-1), strict=True):
            yield name, f"{z.min():.3g} to {z.max():.3g}"
        yield "values", told_of(self.x)

    def summary(self) -> dict[str, Any]:
        """The side of the grid, and the range of each number."""
        ends = [[z.min().item(), z.max().item()] for z in self.z.unbind(-1)]
        return {"side": len(self.levels), "units": list(self.units), "ranges": ends}

    def columns(self) -> dict[str, Any]:
        """A row for each place of the grid, a column for each value of the mean there."""
        z = self.z.flatten(0, 1)
        return {"z_1": z[:, 0], "z_2": z[:, 1]} | value_columns(self.x, 2)


class _Quantiles(poutine.messenger.Messenger):
    """Give the latents of a model their quantiles, number by number in the order of its sites.

    Args:
        levels: `(S, 2)`, of each particle.
    """

    def __init__(self, levels: Tensor) -> None:
        super().__init__()
        self.levels, self.used = levels, 0
        self.values: list[Tensor] = []

    def _pyro_post_sample(self, msg: Any) -> None:
        if not _is_latent(msg):
            return
        drawn = msg["value"]
        own = drawn[0].numel()
        levels = self.levels[:, self.used : self.used + own].to(drawn).reshape(drawn.shape)
        msg["value"] = _quantile(msg, levels)
        self.values.append(msg["value"].reshape(len(drawn), -1))
        self.used += own


def _is_latent(site: Any) -> bool:
    infer = site["infer"] or {}
    hidden = type(site["fn"]).__name__ == "_Subsample" or infer.get("_deterministic")
    return not (hidden or site["is_observed"] or infer.get("was_observed"))


def _quantile(site: Any, levels: Tensor) -> Tensor:
    """Where a site's distribution function has these levels; of a correlated Gaussian, given the
    numbers before.
    """
    fn = site["fn"]
    if isinstance(fn, MultivariateNormal | LowRankMultivariateNormal):
        root = torch.linalg.cholesky(fn.covariance_matrix)
        normal = Normal(torch.zeros_like(levels), 1.0).icdf(levels)
        return fn.mean + (root @ normal[..., None])[..., 0]

    while isinstance(fn, Independent):
        fn = fn.base_dist
    try:
        own = getattr(fn, "quantiles", None)  # of a learned prior
        return fn.icdf(levels) if own is None else own(levels)
    except NotImplementedError as error:
        raise Refusal(
            f"model: the prior of {site['name']!r}, a {type(fn).__name__}, does not know its"
            " quantiles: use traverse or embed"
        ) from error


def manifold(
    model: Program, like: Tensor, index: Tensor | None = None, *, side: int = 20
) -> Manifold:
    """Show the whole latent space of a model with two latent numbers for each datum.

    Args:
        model: Pyro program with one observed site.
        like: data `(N, *shape)` of the kind that the model scores, whose values do not matter.
        index: rows of the dataset `(N,)` of these; the first one counts.
        side: quantiles of each number.

    Raises:
        ValueError: a model with other than two latent numbers, or discrete ones, a prior without
            quantiles, observations without a mean.

    Example:
        >>> from pyro_vae import LinearGaussian
        >>> manifold(LinearGaussian(5, 2), torch.zeros(1, 5), side=4).x.shape
        torch.Size([4, 4, 5])
    """
    check_integer("side", side, 2, _MOST)
    check_like(model, like)
    _, x, numbers = simulated(model, like, index, 1, seed=0)

    with opened(model, None, x, numbers) as pair:
        units = _units(pair)
        levels = (torch.arange(side, dtype=torch.float64) + 0.5) / side
        handler = _Quantiles(torch.cartesian_prod(levels, levels).to(x.device))
        means = means_under(handler, pair, side**2)[:, 0].cpu()

    z = torch.cat(handler.values, -1).cpu()
    return Manifold(
        means.reshape(side, side, *means.shape[1:]), z.reshape(side, side, 2), levels, units
    )


def _units(pair: Pair) -> tuple[str, ...]:
    """What the two latent numbers are called; a ValueError where there are not just two."""
    sites = sample_sites(run_particles(pair.guide, pair.x, pair.index, 1, pair.depth))
    discrete = [site["name"] for site in sites if is_discrete(site)]
    names: list[str] = []
    for site in sites:
        names += unit_names(site["name"], site["value"].numel())

    if discrete or len(names) != _NUMBERS:
        told = f", {', '.join(discrete)} discrete" if discrete else ""
        raise ValueError(
            f"manifold: the model has {len(names)} latent numbers{told}, expected {_NUMBERS} real"
            " ones: use traverse or embed"
        )
    return tuple(names)
