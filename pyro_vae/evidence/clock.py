"""A budget of seconds: what is left of it, and how many data it still bears."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from torch import Tensor

from pyro_vae.evidence.importance import Importance
from pyro_vae.evidence.tails import FEWEST
from pyro_vae.processes import agreed
from pyro_vae.programs.pair import Pair
from pyro_vae.progress import Progress, shares

SCOUTING = 3_400
"""Evaluations of the scouts of a datum, about."""

_PROBE, _FEW = 50, 16  # particles and data by which the pace is taken
_FEWEST = 10  # particles that any budget buys
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

    def particles(self, pair: Pair, num_data: int, most: int) -> int:
        """How many particles of the guide half of the time bears for each of the data, scouts
        beside them if there is time for these; where there is a budget, the pace is taken before.
        """
        if self.budget is None:
            return most

        few, probe = pair.few(_FEW), Importance(_PROBE, num_scouts=0, engine="pyro")
        for _ in range(2):  # what is made at the first call costs the second nothing
            begun = self.spent()
            probe(few)
            self.pace = max(1e-9, self.spent() - begun) / (_PROBE * len(few))

        each = self.bears(num_data) / 2
        seen = each - SCOUTING
        number = int(seen if seen >= 2 * FEWEST else min(each, 2 * FEWEST - 1))
        number = agreed(min(most, max(_FEWEST, number)))
        self.late |= number < most
        return number

    def bears(self, num_data: int) -> float:
        """Evaluations of each of so many data that there is time for."""
        return self.left() / (num_data * self.pace)

    def parcels(
        self, rows: Tensor, cost: float, progress: Progress | None = None
    ) -> Iterator[tuple[Tensor, Progress | None]]:
        """The rows, so many at a time as the time bears by the pace of the last ones, and what is
        told of each parcel; a datum costs so many evaluations, about, until its pace is known.
        Without a budget, all at once.
        """
        if self.budget is None:
            if len(rows):
                yield rows, progress
            return

        pace, size = 2 * self.pace * cost, _FIRST
        while len(rows):
            size = agreed(min(size, len(rows), int(self.left() / max(pace, 1e-9))))
            if size < 1:
                self.late = True
                return

            begun = self.spent()
            now, progress = shares(progress, size, len(rows) - size)
            yield rows[:size], now
            pace = (self.spent() - begun) / size
            rows, size = rows[size:], _MORE * size
