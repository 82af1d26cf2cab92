"""Elementary functions that give the same bits on every machine, in any batch and position.

A library's `exp` differs in its last bit from machine to machine, and within one tensor between
what its vectorised loop takes and the rest. These are made of additions, multiplications, divisions
and shifts of float64 alone, which IEEE 754 rounds in one way only. They are exact to a few units in
the last place, of 1 where the result is smaller.

References:
    IEEE 754-2019, section 5.4: the operations that are correctly rounded.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_LOG2_E = 1.4426950408889634
_LN2_HIGH = 0.693145751953125  # 16 bits, so that its product with an exponent is exact
_LN2_LOW = 1.42860682030941723212e-6  # log 2 is their sum
_MOST = 708.0  # beyond it exp is no normal number
_TERMS = tuple(1 / math.factorial(n) for n in range(14))


def power_of_two(exponent: Tensor) -> Tensor:
    """2 to integer powers from -1022 to 1023, exactly: made of the bits of a float64."""
    return (exponent.to(torch.int64) + 1023).bitwise_left_shift(52).view(torch.float64)


def exponent_of(x: Tensor) -> Tensor:
    """The least integers e with |x| < 2^e, from -1022 on, for finite float64 `x`."""
    bits = x.contiguous().view(torch.int64)
    return bits.bitwise_right_shift(52).bitwise_and(0x7FF) - 1022


def exp(x: Tensor) -> Tensor:
    """exp of float64, which stays at exp(-708) and exp(708) beyond these."""
    x = x.clamp(-_MOST, _MOST)
    power = torch.floor(x * _LOG2_E + 0.5)
    rest = (x - power * _LN2_HIGH) - power * _LN2_LOW

    series = torch.full_like(rest, _TERMS[-1])
    for term in reversed(_TERMS[:-1]):
        series = series * rest + term
    return series * power_of_two(power)


def log(x: Tensor) -> Tensor:
    """Natural logarithm of positive, normal float64."""
    power = exponent_of(x)
    part = x / power_of_two(power)  # in [1/2, 1)

    low = part < math.sqrt(0.5)
    part, power = torch.where(low, 2 * part, part), power - low.to(power.dtype)

    # log m = 2 artanh((m - 1) / (m + 1)), with (m - 1) / (m + 1) below 0.172
    root = (part - 1) / (part + 1)
    square = root * root
    series = torch.full_like(square, 1 / 25)
    for n in range(23, 0, -2):
        series = series * square + 1 / n
    power = power.to(torch.float64)
    return power * _LN2_HIGH + (power * _LN2_LOW + 2 * root * series)


def expm1(x: Tensor) -> Tensor:
    """exp(x) - 1; by the series itself below 1/4, where it keeps the figures of a small x."""
    small = x.clamp(-0.25, 0.25)
    series = torch.full_like(small, _TERMS[-1])
    for term in reversed(_TERMS[1:-1]):
        series = series * small + term
    return torch.where(x.abs() < 0.25, series * small, exp(x) - 1)


def log1p(x: Tensor) -> Tensor:
    """log(1 + x) for x > -1, with the figures of a small x: log(u) x / (u - 1) of u = 1 + x
    rounded.

    References:
        Goldberg (1991). What every computer scientist should know about floating-point arithmetic.
            ACM Computing Surveys 23, theorem 4.
    """
    u = 1 + x
    away = torch.where(u == 1, torch.ones_like(u), u - 1)
    return torch.where(u == 1, x, log(u) * x / away)


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + exp(-x))


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    small = exp(-2 * x.abs())
    size = (1 - small) / (1 + small)
    return torch.where(x < 0, -size, size)


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x))."""
    return x.clamp(min=0) + log(1 + exp(-x.abs()))
