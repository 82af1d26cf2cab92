"""Are ranks uniform? A test of their whole ECDF at once, and the simultaneous band that belongs to
it.

With c_i of R ranks <= i, and C_i ~ Binomial(R, (i + 1) / (L + 1)) if they are uniform on 0..L,

    gamma = min_i 2 min(P(C_i <= c_i), P(C_i >= c_i))

has a p-value that is exact, by a recursion over i and not by simulation, so that however small a
level is resolved.

References:
    Saeilynoja, Buerkner, Vehtari (2022). Graphical test for discrete uniformity and its
        applications in goodness-of-fit evaluation and multiple sample comparison. arXiv:2103.10522.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

_TIES = 1 + 1e-7  # the same probability, summed in another order
_TINY = 1e-9  # p-values below which rounding is felt, and the union bound will do


def p_value(ranks: Tensor, num_draws: int) -> float:
    """Probability that the ECDF of as many independent uniform ranks in 0..L strays as far as that
    of `ranks` `(R,)`.
    """
    num = len(ranks)
    counts = torch.bincount(ranks, minlength=num_draws + 1).cumsum(0)[:-1].numpy()
    points = np.arange(num_draws)
    gamma = 2 * min(float(table[points, counts].min()) for table in _tables(num, num_draws))
    return _tail(gamma, num, num_draws)


@lru_cache(maxsize=8)
def _tables(num: int, num_draws: int) -> tuple[np.ndarray, np.ndarray]:
    """P(C_i <= c) and P(C_i >= c) for i = 0..L-1 and c = 0..R, `(L, R + 1)` each."""
    probs = torch.arange(1, num_draws + 1, dtype=torch.float64) / (num_draws + 1)
    counts = torch.arange(num + 1, dtype=torch.float64)
    pmf = torch.distributions.Binomial(num, probs[:, None]).log_prob(counts).exp()
    return pmf.cumsum(-1).numpy(), pmf.flip(-1).cumsum(-1).flip(-1).numpy()


def limits(gamma: float, num: int, num_draws: int) -> tuple[np.ndarray, np.ndarray]:
    """The least and largest counts whose 2 min(P(C_i <= c), P(C_i >= c)) is above gamma, `(L,)`."""
    below, above = ((2 * table <= gamma * _TIES).sum(-1) for table in _tables(num, num_draws))
    return below, num - above


def _inside(lower: np.ndarray, upper: np.ndarray, num: int) -> float:
    """Probability that the counts of R uniform ranks keep within the limits, at all i = 0..L-1.

    Counts per rank are Poisson variables given their sum, so that one kernel serves every step of
    the recursion.
    """
    if (lower > upper).any():
        return 0.0

    rate, counts = num / (len(lower) + 1), torch.arange(num + 1, dtype=torch.float64)
    poisson = torch.distributions.Poisson(torch.tensor(rate, dtype=torch.float64))
    kernel = poisson.log_prob(counts).exp().numpy()
    weights, least = np.ones(1), 0  # of the counts from `least` on
    for low, high in zip([*lower, num], [*upper, num], strict=True):
        weights = np.convolve(weights, kernel[: high - least + 1])[low - least : high - least + 1]
        least = low

    total = num * math.log(num) - num - math.lgamma(num + 1)  # log-probability of the sum
    return float(weights[0] / math.exp(total))


def _tail(gamma: float, num: int, num_draws: int) -> float:
    """P(gamma statistic <= gamma) of R uniform ranks; at most L gamma, at least gamma / 2 where
    gamma is attained.
    """
    if num_draws * gamma < _TINY:
        return num_draws * gamma
    return min(1.0, max(gamma / 2, 1 - _inside(*limits(gamma, num, num_draws), num)))


@lru_cache(maxsize=64)
def critical(num: int, num_draws: int, alpha: float) -> float:
    """The largest gamma whose tail is at most alpha, by bisection of its logarithm."""
    low, high = math.log(alpha / num_draws), math.log(2.0)
    for _ in range(40):
        middle = (low + high) / 2
        fits = _tail(math.exp(middle), num, num_draws) <= alpha
        low, high = (middle, high) if fits else (low, middle)
    return math.exp(low)
