"""The units of a latent: how much each of them says of a datum, and which of them are used at all.

A unit u is active where the guide's mean of it varies over the data, Var_x(E_q[z_u | x]) > 0.01
(Burda et al.). Its rate is the mean over the data of KL(g_u || p(z_u)), with g_u the Gaussian of
the mean and variance of q(z_u | x): exact for Gaussian families, a lower bound for flows. Where q
is correlated the units' rates sum to less than the whole rate. Of a prior that is a mixture p(z_u)
is the unit's own marginal, and the units' rates need not sum to anything; of one that is a flow,
which does not tell its marginals, the whole rate, at one draw of each datum, is shared out evenly.

References:
    Burda, Grosse, Salakhutdinov (2016). Importance weighted autoencoders. arXiv:1509.00519.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Independent

from pyro_vae.arguments import check_integer, check_rows
from pyro_vae.objectives import unit_rates
from pyro_vae.programs.calls import Program, called, in_one_line
from pyro_vae.programs.pair import Pair, opened
from pyro_vae.programs.sites import is_point, shares_density
from pyro_vae.programs.traces import guide_sites, paired_sites
from pyro_vae.results import Result, counted

Found = dict[str, tuple[Tensor, Tensor, Tensor]]

THRESHOLD = 0.01
_SHOWN = 8  # units that are told
DRAWS = 100  # of a guide that does not know its own moments
_POINTS = 16  # of a quadrature over a unit
PARENTS = 20  # runs of a guide with several latents, one of which may follow another


@dataclass(frozen=True, repr=False)
class Units(Result):
    """The latent units of a guide on some data.

    Attributes:
        names: of the units, the site and the place in it, such as "latent[3]".
        rates: mean rate of each unit `(d,)`, nats per datum; NaN for a site that is drawn together
            with others, unless its prior is normal.
        variances: Var_x(E_q[z_u | x]) `(d,)`; NaN for what has no mean, such as a category.
    """

    names: tuple[str, ...]
    rates: Tensor
    variances: Tensor

    @property
    def active(self) -> Tensor:
        """Whether each unit is active `(d,)`; without a mean, where its rate is above 0.01 nats."""
        return torch.where(self.variances.isnan(), self.rates, self.variances) > THRESHOLD

    @property
    def num_active(self) -> int:
        """Number of active units."""
        return int(self.active.sum())

    def headline(self) -> str:
        return f"{counted(len(self.names), 'latent units')}, rates in nats per datum"

    def figures(self) -> Iterator[tuple[str, str]]:
        order = self.rates.argsort(descending=True).tolist()
        told = [f"{self.names[unit]} {_or_unknown(self.rates[unit])}" for unit in order[:_SHOWN]]
        more = f" and {len(order) - _SHOWN} more" if len(order) > _SHOWN else ""
        yield "rates", f"{', '.join(told)}{more}"
        yield "sum", _or_unknown(self.rates.sum())
        yield "verdict", f"{self.num_active} of {len(self.names)} active"

    def summary(self) -> dict[str, Any]:
        """How many are active, and the sum of their rates."""
        rate = self.rates.sum().item()
        return {"num_units": len(self.names), "num_active": self.num_active, "rate": rate}

    def columns(self) -> dict[str, Any]:
        """A row for each unit."""
        found = {"unit": list(self.names), "rate": self.rates, "variance": self.variances}
        return found | {"active": self.active}

    def rows(self) -> list[dict[str, Any]]:
        """A row for each unit, for a table."""
        columns = (self.names, self.rates.tolist(), self.variances.tolist(), self.active.tolist())
        names = ("unit", "rate", "variance", "active")
        return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _or_unknown(rate: Tensor) -> str:
    return "unknown" if rate.isnan() else f"{rate:.2f}"


def latent_units(
    model: Program, guide: Program, x: Tensor, index: Tensor | None = None, batch_size: int = 4096
) -> Units | None:
    """Rate and variance of each latent unit over data `(N, *shape)`; None where no latent belongs
    to a datum.

    Raises:
        ValueError: fewer than two data.

    Example:
        >>> from pyro_vae import ExactGuide, LinearGaussian
        >>> model = LinearGaussian(5, 2)
        >>> latent_units(model, ExactGuide(model), model.sample(100)).num_active
        2
    """
    check_rows("x", x, least=2)  # a variance over the data is asked for
    check_integer("batch_size", batch_size, 1)
    called(guide, "guide")
    with in_one_line(x), opened(model, guide, x, index, seed=0, check=False) as pair:
        found = [_batch(pair.take(rows)) for rows in pair.blocks(batch_size)]
    if not found[0]:
        return None

    rates, variances, names = [], [], []
    for site in found[0]:
        parts = zip(*(batch[site] for batch in found), strict=True)
        means, errors, kl = (torch.cat(part).double().cpu() for part in parts)
        rates.append(kl.mean(0))
        variances.append(means.var(0) - errors.mean(0))
        width = means.shape[1]
        names += [site] if width == 1 else [f"{site}[{unit}]" for unit in range(width)]
    return Units(tuple(names), torch.cat(rates), torch.cat(variances))


def _batch(pair: Pair) -> Found:
    """For each site, each datum's mean, the noise in it, and rate, `(B, units)`."""
    found: Found = {}
    draws = None
    for name, (mine, prior) in paired_sites(pair.model, pair.guide, pair.x, pair.index).items():
        moments = _moments(mine)
        if is_point(mine["fn"]):
            if not _is_drawn(pair):
                continue
            moments = None

        if moments is None and mine["fn"].support.is_discrete:
            log_ratio = mine["unscaled_log_prob"] - prior["unscaled_log_prob"]
            rate = log_ratio.reshape(-1, len(pair)).sum(0)[:, None]
            found[name] = (torch.full_like(rate, torch.nan), torch.zeros_like(rate), rate)
            continue
        if moments is None:
            draws = pair.sample(DRAWS)[0] if draws is None else draws
            drawn = draws[name].movedim(pair.depth, 1).reshape(DRAWS, len(pair), -1)
            moments = drawn.mean(0), drawn.var(0)
            noise = moments[1] / DRAWS
        else:
            noise = torch.zeros_like(moments[0])
        found[name] = (moments[0], noise, _rates(mine, prior, *moments))

    return _over_parents(pair, found) if len(found) > 1 else found


def _is_drawn(pair: Pair) -> bool:
    """Whether the guide's points come from draws at other sites, as those of autoguides do."""
    sites = guide_sites(pair.guide, pair.x, pair.index)
    return any(site["infer"].get("is_auxiliary") for site in sites)


def _over_parents(pair: Pair, found: Found) -> Found:
    """The means of latents that follow others in the guide, averaged over draws of these, with the
    noise that is left.
    """
    means: dict[str, list[Tensor]] = {name: [] for name in found}
    for _ in range(PARENTS):
        for site in guide_sites(pair.guide, pair.x, pair.index):
            known = site["name"] in found and not is_point(site["fn"])
            moments = _moments(site) if known else None
            if moments is not None:
                means[site["name"]].append(moments[0])

    for name, runs in means.items():
        if runs:
            drawn = torch.stack(runs)
            found[name] = (drawn.mean(0), drawn.var(0) / PARENTS, found[name][2])
    return found


def _moments(site: Any) -> tuple[Tensor, Tensor] | None:
    """Mean and variance of q `(B, units)`; None where it does not know them."""
    fn = site["fn"]
    try:
        mean, variance = _rows(fn.mean, fn), _rows(fn.variance, fn)
    except NotImplementedError:  # a flow, say
        return None
    return None if mean.isnan().any() else (mean, variance)


def _rates(mine: Any, prior: Any, mean: Tensor, variance: Tensor) -> Tensor:
    """KL of each unit `(B, units)`: of Gaussians where the prior is one; else as the distributions
    have it, shared out.
    """
    p = prior["fn"]
    while isinstance(p, Independent):
        p = p.base_dist
    if isinstance(p, torch.distributions.Normal):
        shape = mine["value"].shape
        there, spread = (_rows(value.expand(shape), mine["fn"]) for value in (p.mean, p.variance))
        return ((variance + (mean - there) ** 2) / spread - 1 - (variance / spread).log()) / 2

    marginals = getattr(p, "log_marginals", None)
    if marginals is not None:
        rates = _by_quadrature(marginals, mean, variance)
        if rates is not None:
            return rates
    if shares_density(mine):
        return torch.full_like(mean, torch.nan)  # the sites together have one, and none of its own
    rate = unit_rates(mine, prior)
    if rate.shape == mean.shape:
        return rate
    return (rate.sum(-1, keepdim=True) / mean.shape[1]).expand_as(mean)


def _by_quadrature(log_marginals: Any, mean: Tensor, variance: Tensor) -> Tensor | None:
    """KL(g_u || p(z_u)) `(B, units)` by Gauss and Hermite's points; None of unknown marginals."""
    places, weights = np.polynomial.hermite_e.hermegauss(_POINTS)
    found, sd = torch.zeros_like(mean), variance.sqrt()
    for place, weight in zip(places.tolist(), (weights / weights.sum()).tolist(), strict=True):
        log_p = log_marginals(mean + place * sd)
        if log_p is None:
            return None
        found = found - weight * log_p
    return found - (1 + math.log(2 * math.pi)) / 2 - sd.log()


def _rows(value: Tensor, fn: Any) -> Tensor:
    """`(..., B, *event)` as `(B, units)`."""
    data = -1 - fn.event_dim
    return value.movedim(data, 0).reshape(value.shape[data], -1)
