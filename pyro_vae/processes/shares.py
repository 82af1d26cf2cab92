"""The rows of a minibatch that each process runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pyro_vae.processes.group import count, rank


@dataclass(frozen=True)
class Share:
    """The rows of a minibatch that a process runs, `start` to `stop` of `whole` rows.

    A process without a row of its own runs the first one, so that it goes through the same motions,
    and what it finds does not count.
    """

    start: int
    stop: int
    whole: int
    counts: bool = True

    @property
    def rows(self) -> slice:
        """Where the rows are."""
        return slice(self.start, self.stop)

    @property
    def weight(self) -> float:
        """Of all rows; 0 where they do not count."""
        return (self.stop - self.start) / self.whole if self.counts else 0.0


_part: Share | None = None  # of the loss that is being computed


def own_share(size: int) -> Share:
    """The rows of a minibatch of so many that this process runs."""
    return share_of(size, rank(), count())


def share_of(size: int, number: int, count: int) -> Share:
    """The rows that process `number` of `count` runs.

    Example:
        >>> [share_of(5, number, 2).rows for number in range(2)]
        [slice(0, 2, None), slice(2, 5, None)]
        >>> share_of(1, 0, 2).counts
        False
    """
    start, stop = size * number // count, size * (number + 1) // count
    return Share(start, stop, size) if start < stop else Share(0, 1, size, counts=False)


@contextmanager
def on(part: Share) -> Iterator[None]:
    """Around the loss of these rows of a minibatch; `part` tells them."""
    global _part
    before, _part = _part, part
    try:
        yield
    finally:
        _part = before


def part() -> Share | None:
    """The rows whose loss is being computed; None where they are a whole minibatch."""
    return _part
