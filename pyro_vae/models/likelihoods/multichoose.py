"""The binomial coefficient of real numbers that counts are made of.

    C(a + k - 1, k) = Gamma(a + k) / (Gamma(a) k!),    a > 0,  k = 0, 1, 2, ...

As a difference of three log-gammas it loses all figures of float32 where a or k is large. Here
Stirling's series is written for the differences themselves, five places up, where it is exact to
4e-11; so what cancels has cancelled before it is computed, and all is made of logarithms, which
vectorise and fuse where log-gamma and its derivative do not.

References:
    Abramowitz, Stegun (1964). Handbook of mathematical functions, 6.1.15 and 6.1.41.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_UP = 5  # places
_TERMS = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)


def log_multichoose(a: Tensor, k: Tensor) -> Tensor:
    """log C(a + k - 1, k) for a > 0 and whole numbers k >= 0, of one dtype, broadcast.

    Example:
        >>> log_multichoose(torch.tensor(3.0), torch.tensor(2.0)).exp().round()
        tensor(6.)
    """
    high, one = a + _UP, 1.0 + _UP
    ratio: Any = a * (k + 1) / (a + k)
    for i in range(1, _UP):
        ratio = ratio * ((a + i) * ((k + 1 + i) / ((a + k + i) * (1 + i))))

    large = (high - 0.5) * torch.log1p(k / high) - (one - 0.5) * torch.log1p(k / one)
    large = large + k * torch.log1p((a - 1) / (k + one))
    rest = (_series(high + k) - _series(high)) - (_series(k + one) - _at_one())
    return large + rest + torch.log(ratio)


def _series(x: Tensor) -> Tensor:
    """log Gamma(x) less (x - 1/2) log x - x + log(2 pi) / 2."""
    inverse = 1 / x
    square = inverse * inverse
    total: Any = _TERMS[-1]
    for term in reversed(_TERMS[:-1]):
        total = total * square + term
    return total * inverse


def _at_one() -> float:
    """`_series` where a is 1."""
    return sum(term / (1 + _UP) ** (2 * n + 1) for n, term in enumerate(_TERMS))
