"""A budget of seconds: what is left of it, and how many data it still bears."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

from torch import Tensor

from pyro_vae.processes import agreed

_FIRST = 16  # data of the first parcel
_MORE = 4  # times as many in the next, at most


class Clock:
    """What is left of a budget, and the pace of the work.

    Args:
        budget: seconds from now on, or None for all the time in the world.

    Attributes:
        pace: seconds of an evaluation, about.
        late: whether something was left out for want of time.
    """

    def __init__(self, budget: float | None) -> None:
        self.budget, self._started = budget, time.monotonic()
        self.pace, self.late = 0.0, False

    def spent(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self._started

    def left(self) -> float:
        """Seconds; infinite without a budget."""
        return math.inf if self.budget is None else max(0.0, self.budget - self.spent())

    def pace_of(self, work: Callable[[], object], evaluations: int) -> None:
        """Take the pace from a work of so many evaluations; what is made at the first call costs
        the second nothing.
        """
        for _ in range(2):
            begun = self.spent()
            work()
            self.pace = max(1e-9, self.spent() - begun) / evaluations

    def bears(self, num_data: int) -> float:
        """Evaluations of each of so many data that there is time for."""
        return self.left() / (num_data * self.pace)

    def parcels(self, rows: Tensor, cost: float) -> Iterator[Tensor]:
        """The rows, so many at a time as the time bears by the pace of the last ones; each costs so
        many evaluations, about, until that is known. Without a budget, all at once.
        """
        if self.budget is None:
            if len(rows):
                yield rows
            return

        pace, size = 2 * self.pace * cost, _FIRST
        while len(rows):
            size = agreed(min(size, len(rows), int(self.left() / max(pace, 1e-9))))
            if size < 1:
                self.late = True
                return

            begun = self.spent()
            yield rows[:size]
            pace = (self.spent() - begun) / size
            rows, size = rows[size:], _MORE * size
