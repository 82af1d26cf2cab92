"""Pareto-smoothed importance sampling of many data at once, on their device.

ArviZ takes one datum after another, on the CPU: 1.5 ms each for 5,000 particles, ten times what a
GPU takes to draw and score them, and a tenth of what two cores take. The same is done here to all
columns together, where that is plain: M = ceil(min(S / 5, 3 sqrt S)) weights above the cutoff, and
a fit that is finite. The rest (ties, weights that vanish) is left to ArviZ.

References:
    Vehtari, Simpson, Gelman, Yao, Gabry (2024). Pareto smoothed importance sampling.
        arXiv:1507.02646.
    Zhang, Stephens (2009). A new and efficient estimation method for the generalized Pareto
        distribution. Technometrics 51, doi:10.1198/tech.2009.08017.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

_PRIOR_WEIGHT, _PRIOR_SHAPE = 10, 0.5  # of k, in weights of the tail
_VALUES = 2**24  # of the grid of a fit, for all tails that are fitted at once, and more than it has
_EPS = torch.finfo(torch.double).eps
_TINY = math.log(torch.finfo(torch.double).tiny)


class Smoothed(NamedTuple):
    """k-hat, the log of the mean weight with a smoothed tail, and whether both are to be trusted,
    `(B,)` each.
    """

    khat: Tensor
    log_mean: Tensor
    plain: Tensor


def smoothed(log_w: Tensor) -> Smoothed:
    """All columns of log-weights `(S, B)`, float64, as many at once as memory bears."""
    size = math.ceil(min(len(log_w) / 5, 3 * math.sqrt(len(log_w))))
    parts = [_smoothed(part, size) for part in log_w.split(max(1, _VALUES // size**2), 1)]
    return Smoothed(*map(torch.cat, zip(*parts, strict=True)))


def _smoothed(log_w: Tensor, size: int) -> Smoothed:
    num_particles = len(log_w)
    top = log_w.max(0).values
    x = log_w - top

    largest = torch.topk(x, size + 1, 0).values  # (M + 1, B), from the largest on
    cutoff = largest[-1].clamp(min=_TINY)
    tail = largest[:-1].flip(0)  # (M, B), ascending
    least = cutoff.exp()
    shape, scale = _fit(tail.exp() - least)

    quantiles = _quantiles(size, shape, scale)
    replaced = (quantiles + least).log().clamp(max=0)
    body = (x.exp().sum(0) - tail.exp().sum(0)).clamp(min=0)
    mean = ((body + replaced.exp().sum(0)) / num_particles).log() + top

    plain = (tail[0] > cutoff) & shape.isfinite() & (scale > 0) & mean.isfinite()
    return Smoothed(shape, mean, plain)


def _fit(excess: Tensor) -> tuple[Tensor, Tensor]:
    """Shape k and scale of the generalised Pareto distribution of ascending excesses `(M, B)`: the
    posterior mean of theta = -k / scale on a grid that the data choose.
    """
    size = len(excess)
    grid = 30 + int(math.sqrt(size))
    spots = torch.arange(1, grid + 1, dtype=excess.dtype, device=excess.device)[:, None] - 0.5
    theta = 1 / excess[-1] + (1 - torch.sqrt(grid / spots)) / (3 * excess[int(size / 4 + 0.5) - 1])

    shape = torch.log1p(-theta[:, None] * excess).mean(1)  # (G, M, B) on the way
    weights = torch.softmax(size * (torch.log(-theta / shape) - shape - 1), 0)
    weights = torch.where(weights >= 10 * _EPS, weights, 0.0)
    theta = (theta * weights).sum(0) / weights.sum(0)

    shape = torch.log1p(-theta * excess).mean(0)
    prior = _PRIOR_WEIGHT * _PRIOR_SHAPE
    return (size * shape + prior) / (size + _PRIOR_WEIGHT), -shape / theta


def _quantiles(size: int, shape: Tensor, scale: Tensor) -> Tensor:
    """Of the fitted distribution, in the middle of each of M equal shares, `(M, B)`."""
    share = torch.arange(0.5, size, dtype=shape.dtype, device=shape.device)[:, None] / size
    flat = -torch.log1p(-share)
    curved = torch.expm1(shape * flat) / shape
    return scale * torch.where(shape.abs() < _EPS, flat, curved)
