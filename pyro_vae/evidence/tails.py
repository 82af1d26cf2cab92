"""What the largest weights say of those that were not drawn: how heavy the tail may be, and how
much it may hold.

A normal interval around log p_hat needs weights of finite variance, and enough of them to see it.
The tail above the M-th largest weight u is near a generalised Pareto distribution of shape k and
scale sigma, whatever the weights are, with mean excess sigma / (1 - k). Two things follow from a
fit of it to the M largest,

    k + z (1 + k) / sqrt(M)
        how heavy it may be: an upper limit of k, by the error of its estimate,
    log (1 + (M / S) (sigma / (1 - k) - mean excess seen) / p_hat)
        how much it may add to log p_hat, at a high quantile of (k, sigma) given the excesses.

A set of weights that has missed its own tail looks light by both, and is low by the same accident.
So whether an interval is to be believed is asked of one half of the particles, and the interval is
drawn by the other half (`importance.py`).

The fit and its quasi-posterior are those of Zhang and Stephens; the error of k is Smith's; the size
of the tail and the prior of k are those of Vehtari et al.

References:
    Zhang, Stephens (2009). A new and efficient estimation method for the generalized Pareto
        distribution. Technometrics 51.
    Smith (1987). Estimating tails of probability distributions. Annals of Statistics 15.
    Vehtari, Simpson, Gelman, Yao, Gabry (2024). Pareto smoothed importance sampling.
        arXiv:1507.02646.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

FEWEST = 100
"""Weights below which no tail is fitted: intervals by fewer cover less than they say
(experiments/coverage.py).
"""

_ERRORS = 1.5  # standard errors of k from its estimate to its upper limit
_LEVEL = 0.999  # quantile of what the tail may hold
_PRIOR_WEIGHT, _PRIOR_SHAPE = 10, 0.5  # of k, in excesses
_EQUAL = 1e-3  # nats; weights closer together than this have no tail


class Tail(NamedTuple):
    """The tail of a set of weights, `(B,)` each.

    Attributes:
        limit: upper limit of its shape k; infinite where nothing can be fitted, minus infinity for
            equal weights.
        unseen: what it may add to the log of the mean weight, nats; infinite where k may be 1 or
            more.
    """

    limit: Tensor
    unseen: Tensor


def tail(log_w: Tensor) -> Tail:
    """The tail of log-weights `(S, B)`, in float64; see the module.

    Example:
        >>> light, heavy = torch.linspace(-1, 0, 1000), -0.9 * torch.linspace(1e-3, 1, 1000).log()
        >>> [bool(limit < 0.7) for limit in tail(torch.stack([light, heavy], 1)).limit]
        [True, False]
    """
    num_particles, num_data = log_w.shape
    nothing = torch.full((num_data,), math.inf, dtype=torch.double, device=log_w.device)
    if num_particles < FEWEST:
        return Tail(nothing, nothing.clone())

    log_w = log_w.double()
    top = log_w.max(0).values
    spread = top - log_w.min(0).values
    size = math.ceil(min(num_particles / 5, 3 * math.sqrt(num_particles)))
    largest = torch.topk(log_w - top, size + 1, 0).values.exp()  # (M + 1, B), from the largest on
    excess = (largest[:-1] - largest[-1]).flip(0)  # (M, B), ascending

    fits = (excess[size // 4] > 0) & top.isfinite()
    anything = torch.linspace(0.1, 1, size, dtype=torch.double)[:, None].to(excess)
    shape, held = _fit(torch.where(fits, excess, anything))
    mean = (log_w - top).exp().mean(0)
    more = torch.log1p((size / num_particles) * (held - excess.mean(0)).clamp(min=0) / mean)

    limit = torch.where(fits, shape + _ERRORS * (1 + shape) / math.sqrt(size), math.inf)
    unseen = torch.where(fits, more, math.inf)
    equal = (spread <= _EQUAL) & top.isfinite()
    return Tail(torch.where(equal, -math.inf, limit), torch.where(equal, spread, unseen))


def _fit(excess: Tensor) -> tuple[Tensor, Tensor]:
    """Posterior mean of k, and a high quantile of the mean excess sigma / (1 - k), `(B,)` each.

    The profile likelihood of theta = -k / sigma is a posterior on a grid that the data choose,
    `(G, B)`.
    """
    size = len(excess)
    grid = 30 + int(math.sqrt(size))
    spots = torch.arange(1, grid + 1, dtype=torch.double, device=excess.device)[:, None] - 0.5
    theta = 1 / excess[-1] + (1 - torch.sqrt(grid / spots)) / (3 * excess[int(size / 4 + 0.5) - 1])
    shape = torch.stack([torch.log1p(-row * excess).mean(0) for row in theta])
    scale = -shape / theta
    posterior = torch.softmax(size * (torch.log(theta / -shape) - shape - 1), 0)

    total = size + _PRIOR_WEIGHT
    shape = (size * shape + _PRIOR_WEIGHT * _PRIOR_SHAPE) / total
    held, order = torch.where(shape < 1, scale / (1 - shape), math.inf).sort(0)
    below = posterior.gather(0, order).cumsum(0) < _LEVEL
    quantile = held.gather(0, below.sum(0).clamp(max=grid - 1)[None])[0]
    return (posterior * shape).sum(0), quantile
