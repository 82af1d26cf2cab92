"""How much is evaluated at once where memory does not hold what was asked for: half as much, and
half again.

Out of memory is an error that a caller can do something about, as long as what is computed does not
depend on how much of it is computed at once. Noise is drawn elsewhere, in blocks of its own; what
is halved here is the scoring of latents that are there already.
"""

from __future__ import annotations

import gc
import math
import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

_T = TypeVar("_T")


class Fitting:
    """Rows that are evaluated at once, halved whenever memory does not hold them, from then on; one
    warning says so.

    Attributes:
        most: rows of a call; infinite until memory has said otherwise.
    """

    def __init__(self) -> None:
        self.most: float = math.inf
        self._told = False

    def __call__(self, evaluate: Callable[[int], _T], rows: int) -> _T:
        """`evaluate(rows)`, again with half as many after each `torch.OutOfMemoryError`, which is
        raised where one row is too much.
        """
        while True:
            size = int(min(rows, self.most))
            try:
                found = evaluate(size)
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
            else:
                self._tell(rows, size)
                return found

            # out here the traceback is gone, and with it all tensors that it held; Pyro's own
            # holds itself
            gc.collect()
            self.most = (size + 1) // 2
            torch.cuda.empty_cache()

    def _tell(self, asked: int, size: int) -> None:
        if size == asked or self._told:
            return
        self._told = True
        told = f"out of memory with {asked} rows at once: {size} from here on"
        warnings.warn(f"{told}, which changes the time and not the result", stacklevel=2)


def tiles(num_particles: int, num_data: int, rows: int) -> tuple[int, int]:
    """Particles and data of the pieces that `(S, B)` is cut into, evenly, of at most `rows` rows
    each: as many data as there are, then particles.

    Example:
        >>> tiles(100, 16, 400), tiles(100, 16, 10)
        ((25, 16), (1, 8))
    """
    columns = _even(num_data, rows)
    return _even(num_particles, max(1, rows // columns)), columns


def _even(number: int, most: int) -> int:
    """The size of parts, all alike but the last, when there are as few of them as can be."""
    return math.ceil(number / math.ceil(number / most))


def places(number: int, size: int) -> Iterator[slice]:
    """0..number-1 in slices of `size`, the last as long as there is.

    Example:
        >>> list(places(5, 2))
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return (slice(start, min(start + size, number)) for start in range(0, number, size))


def joined(rows: list[list[tuple[Tensor, ...]]]) -> list[Tensor]:
    """Pieces `(s, b, ...)` in rows of particles and columns of data, put together `(S, B, ...)`."""
    lines = []
    for row in rows:
        lines.append([torch.cat(parts, 1) for parts in zip(*row, strict=True)])
    return [torch.cat(parts) for parts in zip(*lines, strict=True)]
