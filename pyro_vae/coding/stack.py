"""A stack of bits: symbols are pushed on it, at the price of their probability, and popped off in
the opposite order.

It is constriction's coder by asymmetric numeral systems, with integer probabilities throughout. To
pop symbols from bits that nobody has pushed is to draw them: what is popped by a distribution and
pushed again by the same leaves the stack as it was. An interval of masses, from `low` on and
`width` wide of 2^P, is pushed by

    pop r uniformly from 0 .. width - 1,    push low + r uniformly onto 0 .. 2^P - 1

and popped the other way round.

References:
    Duda (2009). Asymmetric numeral systems. arXiv:0902.0271.
    Bamler (2022). Understanding entropy coding with asymmetric numeral systems (ANS): a
        statistician's perspective. arXiv:2201.01741.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyro_vae.coding.buckets import CHANCE, Integers

Words = NDArray[np.uint32]
Locate = Callable[[Integers], tuple[Any, Integers, Integers]]
"""From masses to what lies there, and the lower ends and widths of the intervals that hold it."""


class Stack:
    """Bits, from words `(n,)` of which the last is on top.

    Args:
        words: of 32 bits, the last not 0.
    """

    def __init__(self, words: Words) -> None:
        import constriction  # which nothing else needs

        model = constriction.stream.model
        self._coder = constriction.stream.stack.AnsCoder(words)
        self._uniform, self._make_uniform = model.Uniform(), model.Uniform
        self._binary = model.Bernoulli(perfect=False)  # no logarithms: products and sums only

    def push_uniform(self, values: Integers, sizes: Integers | int) -> None:
        """Push values `(n,)` that are equally likely in 0 .. size - 1, sizes >= 2."""
        symbols = np.ascontiguousarray(values, np.int32)
        if isinstance(sizes, int):
            self._coder.encode_reverse(symbols, self._make_uniform(sizes))
        else:
            self._coder.encode_reverse(symbols, self._uniform, sizes.astype(np.int32))

    def pop_uniform(self, sizes: Integers | int, count: int = 0) -> Integers:
        """Pop values `(n,)`; `count` of them where there is one size."""
        if isinstance(sizes, int):
            return self._coder.decode(self._make_uniform(sizes), count).astype(np.int64)
        return self._coder.decode(self._uniform, sizes.astype(np.int32)).astype(np.int64)

    def push_binary(self, values: Integers, chances: Integers) -> None:
        """Push zeros and ones `(n,)`, ones with `chances` `(n,)` of 2^CHANCE, all in between."""
        symbols = np.ascontiguousarray(values, np.int32)
        self._coder.encode_reverse(symbols, self._binary, chances / 2.0**CHANCE)

    def pop_binary(self, chances: Integers) -> Integers:
        """Pop zeros and ones `(n,)`."""
        return self._coder.decode(self._binary, chances / 2.0**CHANCE).astype(np.int64)

    def push_intervals(self, low: Integers, width: Integers, bits: int) -> None:
        """Push intervals `(n,)` of 2^bits, each at least 2 wide."""
        rest = self.pop_uniform(width)
        self.push_uniform(low + rest, 2**bits)

    def pop_intervals(self, count: int, bits: int, locate: Locate) -> Any:
        """Pop `count` intervals of 2^bits; what `locate` finds there."""
        mass = self.pop_uniform(2**bits, count)
        found, low, width = locate(mass)
        self.push_uniform(mass - low, width)
        return found

    @property
    def size(self) -> float:
        """Bits on the stack, a real number."""
        count, state = self._coder.pos()
        return 32.0 * count + (math.log2(state) if state else 0.0)

    def copy(self) -> Stack:
        """Another stack of the same bits."""
        made = Stack.__new__(Stack)
        made.__dict__.update(self.__dict__)
        made._coder = self._coder.clone()
        return made

    def words(self) -> Words:
        """All words."""
        return np.asarray(self._coder.get_compressed(), np.uint32)


def initial_words(number: int) -> Words:
    """Words that are as good as random, the same ones at each call: what lies at the bottom of a
    stack, so many of them; the first is on top.
    """
    made = b"".join(hashlib.sha256(n.to_bytes(8, "big")).digest() for n in range(number // 8 + 1))
    words = np.frombuffer(made, "<u4")[:number] | 1  # the top one must not be 0
    return words[::-1].astype(np.uint32)


def lifted(stack: Stack, number: int, more: int) -> Stack:
    """The same stack on more words; it has `number` of `initial_words` at its bottom already."""
    below = initial_words(number + more)[:more]
    return Stack(np.concatenate([below, stack.words()]))
