"""The values of a datum as symbols, and what mass a likelihood gives each, in integers.

    symbol i   value i of those that a likelihood can take: 0 and 1, grey levels, codes
    mass       a whole number; how its size compares with the others' is all that counts

A symbol is found by halvings, as a latent's bucket is: bit by bit of its number, each with what the
half has of the whole, a multiple of 2^-CHANCE that is neither 0 nor 1. So no symbol costs more than
CHANCE bits and a few, however unlikely it is, and zeros and ones are found by one halving.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyro_vae.coding import elementary
from pyro_vae.coding.buckets import CHANCE, Integers

MOST_SYMBOLS = 2**11  # whose masses, of 30 bits, can be added up and shifted by CHANCE
_MASS = 30  # bits of the greatest mass


@dataclass(frozen=True)
class Symbols:
    """Masses of 2^bits symbols, for each value of each datum.

    Attributes:
        below: masses below each symbol, and of all, `(..., D, 2^bits + 1)`.
    """

    below: Integers

    @property
    def bits(self) -> int:
        """Of a symbol's number."""
        return (self.below.shape[-1] - 1).bit_length() - 1

    def upper(self, symbol: Integers, bit: int) -> Integers:
        """The chance `(..., D)` that this bit of a symbol's number is 1, given the higher ones; of
        2^CHANCE, from 1 to 2^CHANCE - 1.
        """
        symbol = np.broadcast_to(symbol, self.below.shape[:-1])
        start = (symbol >> (bit + 1)) << (bit + 1)
        half = 1 << bit
        low, middle, high = (
            np.take_along_axis(self.below, place[..., None], -1)[..., 0]
            for place in (start, start + half, start + 2 * half)
        )

        whole = high - low
        chance = ((high - middle) << CHANCE) // np.maximum(whole, 1)
        chance = np.where(whole > 0, chance, 1 << (CHANCE - 1))
        return np.clip(chance, 1, (1 << CHANCE) - 1)

    def chances(self, symbol: Integers) -> Integers:
        """The chances `(bits, ..., D)` of all bits of symbols `(D,)`, the highest first."""
        return np.stack([self.upper(symbol, bit) for bit in reversed(range(self.bits))])

    def digits(self, symbol: Integers) -> Integers:
        """The bits `(bits, D)` of symbols `(D,)`, the highest first."""
        bits = np.arange(self.bits)[::-1].reshape(-1, *[1] * symbol.ndim)
        return (symbol >> bits) & 1

    def of(self, number: int) -> Symbols:
        """Those of one latent, of masses `(K, D, 2^bits + 1)`."""
        return Symbols(self.below[number])

    @property
    def told(self) -> Integers:
        """Integers that tell likelihoods apart: the chances of ones, or all masses."""
        return self.upper(np.zeros((), np.int64), 0) if self.bits == 1 else self.below


def binary_symbols(chance: Tensor) -> Symbols:
    """Zeros and ones, from the chances of ones `(..., D)`, float64."""
    if not torch.isfinite(chance).all():
        raise ValueError("model: got probabilities that are not finite, expected finite ones")

    ones = torch.floor(chance * 2**CHANCE + 0.5).to(torch.int64).clamp(1, 2**CHANCE - 1).numpy()
    return Symbols(
        np.stack([np.zeros_like(ones), 2**CHANCE - ones, np.full_like(ones, 2**CHANCE)], -1)
    )


def table_symbols(log_prob: Tensor) -> Symbols:
    """Symbols of log-probabilities `(L, ..., D)`, up to a constant, L <= `MOST_SYMBOLS`; their
    number is made a power of two by symbols that have no mass.
    """
    wide = log_prob.to(torch.float64).movedim(0, -1)
    if torch.isnan(wide).any() or not torch.isfinite(wide.amax(-1)).all():
        raise ValueError("model: got log-probabilities that are no numbers, expected finite ones")

    relative = elementary.exp(wide - wide.amax(-1, keepdim=True))
    mass = torch.floor(relative * 2.0**_MASS + 0.5).to(torch.int64).numpy()
    size = mass.shape[-1]
    below = np.zeros((*mass.shape[:-1], (1 << (size - 1).bit_length()) + 1), np.int64)
    np.cumsum(mass, -1, out=below[..., 1 : size + 1])
    below[..., size + 1 :] = below[..., size : size + 1]
    return Symbols(below)
