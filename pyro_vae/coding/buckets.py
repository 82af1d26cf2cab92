"""A real latent as one of 2^k buckets of equal mass under N(0, 1), and what mass a normal q has in
each, in integers.

    bucket i:  from e_i to e_(i+1),   Phi(e_i) = i / 2^k,   each costs k bits under the prior
    q's mass:  F((e_(i+1) - m) / s) - F((e_i - m) / s),     F the normal distribution function

A bucket is found by k halvings, of all buckets, then of the half that holds it, and so on: bit by
bit of its number. Each costs what q has in that half, a multiple of 2^-22 that is neither 0 nor 1.
So q is kept to 22 bits at each halving, however thin its tails are. (Masses of the buckets
themselves, each at least 2^-22, would take a latent far from q too often, and cost a datum dear.)

Mean m and 1 / s come as integers, in units of 2^-20, and F is a table with straight lines between
its points. So all from here on is arithmetic of integers, and F does not decrease by its making.

References:
    Townsend, Bird, Barber (2019). Practical lossless compression with latent variables using bits
        back coding. ICLR, arXiv:1901.04866.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from pyro_vae.coding import elementary

Integers = NDArray[np.int64]

UNIT = 20  # bits behind the point of means, inverse scales, edges and centres
CHANCE = 22  # chances are multiples of 2^-CHANCE
MOST_BUCKETS = 16  # bits, for which units of 2^-20 are fine enough

_WHOLE = 32  # bits of the table's values
_STEP = 12  # bits behind the point of the table's places
_EDGE = 8  # where the table ends
_FAR = 64  # the most that a mean is
_INVERSE = (2**-10, 2**10)  # the least and the most that an inverse scale is


@dataclass(frozen=True)
class Buckets:
    """2^bits buckets; `buckets` makes them.

    Attributes:
        bits: k.
        edges: `(2^k + 1,)`, in units of 2^-20; the first and the last are never looked at.
        centres: the median of each under the prior, `(2^k,)`, real numbers.
    """

    bits: int
    edges: Integers
    centres: NDArray[np.float64]

    def upper(
        self, bucket: Integers, bit: Integers | int, mean: Integers, inverse: Integers
    ) -> Integers:
        """q's chance that this bit of a bucket's number is 1, given the higher ones.

        Args:
            bucket: numbers `(...)`; their bits from this one on do not matter.
            bit: from k - 1, the first, to 0.
            mean, inverse: of q and its inverse scale, `(...)`, as `fixed` gives them.

        Returns:
            Multiples of 2^-CHANCE, `(...)`, from 1 to 2^CHANCE - 1.
        """
        start = (bucket >> (bit + 1)) << (bit + 1)
        half = np.left_shift(1, bit)
        low, middle, high = (
            self._below(place, mean, inverse) for place in (start, start + half, start + 2 * half)
        )

        whole = high - low
        chance = ((high - middle) << CHANCE) // np.maximum(whole, 1)
        chance = np.where(whole > 0, chance, 1 << (CHANCE - 1))
        return np.clip(chance, 1, (1 << CHANCE) - 1)

    def chances(self, bucket: Integers, mean: Integers, inverse: Integers) -> Integers:
        """The chances `(k, ...)` of all bits of buckets `(...)`, the highest first."""
        bits = np.arange(self.bits)[::-1].reshape(-1, *[1] * bucket.ndim)
        return self.upper(bucket, bits, mean, inverse)

    def digits(self, bucket: Integers) -> Integers:
        """The bits `(k, ...)` of buckets `(...)`, the highest first."""
        bits = np.arange(self.bits)[::-1].reshape(-1, *[1] * bucket.ndim)
        return (bucket >> bits) & 1

    def _below(self, edge: Integers, mean: Integers, inverse: Integers) -> Integers:
        """q's mass below edges, in units of 2^-32."""
        below = normal_mass((self.edges[edge] - mean) * inverse)
        below = np.where(edge == 0, 0, below)
        return np.where(edge == 2**self.bits, 2**_WHOLE, below)


@cache
def buckets(bits: int) -> Buckets:
    """2^bits buckets of equal mass."""
    share = np.arange(2 ** (bits + 1) + 1, dtype=np.int64) << (_WHOLE - bits - 1)
    places = _places(share)
    return Buckets(bits, places[::2].copy(), places[1::2] / 2.0**UNIT)


def fixed(mean: torch.Tensor, scale: torch.Tensor) -> tuple[Integers, Integers]:
    """A normal's mean and inverse scale as integers; means beyond 64 and scales beyond 2^-10 and
    2^10 are taken for these.
    """
    inverse = (1 / scale.to(torch.float64)).clamp(*_INVERSE)
    whole = []
    for value in (mean.to(torch.float64).clamp(-_FAR, _FAR), inverse):
        whole.append(torch.floor(value * 2**UNIT + 0.5).to(torch.int64).cpu().numpy())
    return whole[0], whole[1]


def normal_mass(place: Integers) -> Integers:
    """The mass of N(0, 1) below places in units of 2^-40, in units of 2^-32; non-decreasing."""
    table = _table()
    shift = 2 * UNIT - _STEP
    place = np.clip(place, -_EDGE << (2 * UNIT), (_EDGE << (2 * UNIT)) - 1)
    place = place + (_EDGE << (2 * UNIT))

    index, rest = place >> shift, place & ((1 << shift) - 1)
    low = table[index]
    return low + (((table[index + 1] - low) * rest) >> shift)


@cache
def _table() -> Integers:
    """The mass below -8, -8 + 2^-12, ..., 8, by Simpson's rule on each step."""
    places = torch.arange(2 * _EDGE * 2 ** (_STEP + 1) + 1, dtype=torch.float64)
    places = places / 2 ** (_STEP + 1) - _EDGE
    density = elementary.exp(-places * places / 2) / math.sqrt(2 * math.pi)

    steps = (density[:-2:2] + 4 * density[1::2] + density[2::2]) / (6 * 2**_STEP)
    whole = torch.floor(steps * 2.0**52 + 0.5).to(torch.int64).numpy()
    below = np.concatenate([[0], np.cumsum(whole)]) >> (52 - _WHOLE)
    below[-1] = 2**_WHOLE
    return below


def _places(share: Integers) -> Integers:
    """The least places, in units of 2^-20, with at least so much mass of N(0, 1) below."""
    low = np.full(share.shape, -_EDGE << UNIT, np.int64)
    for bit in reversed(range(UNIT + 4)):
        higher = low + (1 << bit)
        low = np.where(normal_mass((higher - 1) << UNIT) < share, higher, low)
    return low
