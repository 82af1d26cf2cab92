"""One datum after another on a stack, by bits-back coding, with K latents for each.

To encode x                                     bits on the stack
    pop   z_1 .. z_K   by q(z | x)              + sum_k log q(z_k | x)
    pop   j            by w_j / sum_k w_k       + log w_j - log sum_k w_k
    push  z_k, k /= j  by q(z | x)              - sum_(k /= j) log q(z_k | x)
    push  x            by p(x | z_j)            - log p(x | z_j)
    push  z_j          by p(z)                  - log p(z_j)
    push  j            by 1 / K                 + log K

with w_k = p(x, z_k) / q(z_k | x). Added up, it is -log (1/K sum_k w_k): -ELBO for K = 1, and minus
the importance-weighted bound in expectation. To decode is all of that backwards.

References:
    Townsend, Bird, Barber (2019). Practical lossless compression with latent variables using bits
        back coding. ICLR, arXiv:1901.04866.
    Ruan, Ullrich, Severo, Townsend, Khisti, Doucet, Makhzani, Maddison (2021). Improving lossless
        compression rates via Monte Carlo bits-back coding. ICML, arXiv:2102.11086 (BB-IS).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyro_vae.coding import elementary
from pyro_vae.coding.buckets import CHANCE, UNIT, Integers
from pyro_vae.coding.reading import Reader
from pyro_vae.coding.stack import Stack
from pyro_vae.coding.symbols import Symbols

CHOICE = 20  # the masses of the K latents sum to 2^CHOICE
LEAST = 64  # bits that must be left on a stack after `draw`, for a choice
_FINE = 20  # bits behind the point of logarithms
_WEIGHT = 30  # bits of the greatest weight


class Posterior(NamedTuple):
    """q of one datum: its mean and inverse scale `(d,)`, as `fixed` gives them."""

    mean: Integers
    inverse: Integers


def draw(stack: Stack, reader: Reader, q: Posterior, k: int) -> Integers:
    """Pop the latents of a datum, by their buckets `(K, d)`; no good where less than `LEAST` bits
    are left.
    """
    mean, inverse = (np.tile(value, (k, 1)) for value in q)
    bucket = np.zeros(mean.shape, np.int64)

    for bit in reversed(range(reader.buckets.bits)):
        chances = reader.buckets.upper(bucket, bit, mean, inverse)
        bucket |= stack.pop_binary(chances.ravel()).reshape(bucket.shape) << bit
    return bucket


def push(
    stack: Stack, reader: Reader, x: Integers, q: Posterior, number: int, bucket: Integers
) -> float:
    """Push a datum, after `draw`.

    Args:
        x: `(D,)`, numbers of symbols.
        q: its posterior.
        number: its place among the data.
        bucket: of its latents, `(K, d)`.

    Returns:
        -log2 (1/K sum_k w_k) at the latents that were drawn, with densities in place of the masses
        of buckets: what they would cost if nothing were rounded.
    """
    k, chosen = len(bucket), 0
    symbols = _symbols(reader, bucket, number)
    fits = _fits(symbols, x)

    if k > 1:
        chosen = _pop_choice(stack, _weights(reader, bucket, q, fits))
        _push_latents(stack, reader, np.delete(bucket, chosen, 0), q)
    own = symbols.of(chosen)
    stack.push_binary(own.digits(x).ravel(), own.chances(x).ravel())
    stack.push_uniform(bucket[chosen], 2**reader.buckets.bits)
    if k > 1:
        stack.push_uniform(np.array([chosen]), k)
    return _ideal(reader.buckets.centres[bucket], q, fits)


def pop(stack: Stack, reader: Reader, number: int, k: int) -> Integers:
    """Pop the datum at this place among the data, `(D,)`.

    Raises:
        ValueError: there was less on the stack than `push` leaves there.
    """
    chosen = int(stack.pop_uniform(k, 1)[0]) if k > 1 else 0
    bucket = stack.pop_uniform(2**reader.buckets.bits, reader.dim)[None]
    x = _pop_symbols(stack, _symbols(reader, bucket, number).of(0))
    q = posterior(reader, x, number)

    if k > 1:
        others = draw(stack, reader, q, k - 1)
        bucket = np.insert(others, chosen, bucket[0], 0)
    if stack.size < LEAST - CHOICE:
        raise ValueError("data: they end too early")

    if k > 1:
        fits = _fits(_symbols(reader, bucket, number), x)
        _push_choice(stack, _weights(reader, bucket, q, fits), chosen)
    _push_latents(stack, reader, bucket, q)
    return x


def posterior(reader: Reader, x: Integers, number: int) -> Posterior:
    """q of one datum `(D,)`."""
    mean, inverse = reader.posterior(reader.data(x[None]), torch.tensor([number]))
    return Posterior(mean[0], inverse[0])


def _symbols(reader: Reader, bucket: Integers, number: int) -> Symbols:
    """Masses of symbols `(K, D, ...)` at latents `(K, d)`."""
    return Symbols(reader.symbols(bucket[:, None], torch.tensor([number])).below[:, 0])


def _fits(symbols: Symbols, x: Integers) -> Integers:
    """log p(x | z) `(K,)` at latents, in units of 2^-20 nats."""
    return _log_chance(symbols.chances(x), symbols.digits(x)[:, None]).sum((0, 2))


def _pop_symbols(stack: Stack, symbols: Symbols) -> Integers:
    """Pop what `push_binary` of all digits has pushed, `(D,)`."""
    x = np.zeros(symbols.below.shape[:-1], np.int64)
    for bit in reversed(range(symbols.bits)):
        x |= stack.pop_binary(symbols.upper(x, bit)) << bit
    return x


def _push_latents(stack: Stack, reader: Reader, bucket: Integers, q: Posterior) -> None:
    """Push latents `(k, d)` by q: what `draw` popped."""
    digits = reader.buckets.digits(bucket)
    stack.push_binary(digits.ravel(), reader.buckets.chances(bucket, *q).ravel())


def _weights(reader: Reader, bucket: Integers, q: Posterior, fits: Integers) -> Integers:
    """The masses below each of K latents, as shares of 2^CHOICE that grow with w, `(K + 1,)`."""
    chances, digits = reader.buckets.chances(bucket, *q), reader.buckets.digits(bucket)
    log_guide = _log_chance(chances, digits).sum((0, 2))
    log_weights = fits - log_guide  # the prior is the same for all

    relative = torch.from_numpy(log_weights - log_weights.max()).to(torch.float64) / 2.0**_FINE
    weights = torch.floor(elementary.exp(relative) * 2.0**_WEIGHT).to(torch.int64).numpy()
    below = np.concatenate([[0], np.cumsum(weights)])
    spare = 2**CHOICE - 2 * len(weights)
    return below * spare // below[-1] + 2 * np.arange(len(below))


def _pop_choice(stack: Stack, below: Integers) -> int:
    def locate(mass: Integers) -> tuple[int, Integers, Integers]:
        found = int(np.searchsorted(below, mass[0], "right")) - 1
        return found, below[[found]], np.diff(below)[[found]]

    return stack.pop_intervals(1, CHOICE, locate)


def _push_choice(stack: Stack, below: Integers, chosen: int) -> None:
    stack.push_intervals(below[[chosen]], np.diff(below)[[chosen]], CHOICE)


def _log_chance(chances: Integers, digits: Integers) -> Integers:
    """Logarithms of the chances of zeros and ones, in units of 2^-20 nats, rounded."""
    share = np.where(digits == 1, chances, 2**CHANCE - chances)
    log_share = elementary.log(torch.from_numpy(share).to(torch.float64) / 2.0**CHANCE)
    return torch.floor(log_share * 2.0**_FINE + 0.5).to(torch.int64).numpy()


def _ideal(z: np.ndarray, q: Posterior, fits: Integers) -> float:
    """-log2 of the mean weight of latents `(K, d)`, by densities."""
    mean, inverse = (torch.from_numpy(value / 2.0**UNIT) for value in q)
    values: Tensor = torch.from_numpy(z)
    log_ratio = ((values - mean) * inverse).square() / 2 - values.square() / 2 - inverse.log()
    log_weights = torch.from_numpy(fits / 2.0**_FINE) + log_ratio.sum(-1)
    mean_weight = torch.logsumexp(log_weights, 0) - np.log(len(z))
    return float(-mean_weight / np.log(2))
