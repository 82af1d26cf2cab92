"""Which of several estimates stands for each datum, when one after another is tried on some of the
data.

An estimate that vouches for a datum takes the place of one that does not, and of one that did so at
a larger error; where none does, the last one stands. What is told is not what chose: of particles,
the half that has not judged; of short chains, a second run. (Where these are too noisy, their datum
goes on all the same, and so it does from longer chains than the short and shorter than the last. To
keep the others favours sets without large weights, and so errs low, as a bound may: by 0.003 nats
at an error of 0.05, where half of them are kept.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pyro_vae.evidence.annealed_estimate import AnnealedEstimate
from pyro_vae.evidence.estimate import Estimate
from pyro_vae.evidence.importance_estimate import ImportanceEstimate
from pyro_vae.results import counted


@dataclass(frozen=True)
class Part:
    """An estimate of some of the data.

    Attributes:
        rows: their places `(M,)`, on the CPU.
        found: what was found of them.
    """

    rows: Tensor
    found: Estimate

    @classmethod
    def whole(cls, found: Estimate) -> Part:
        """An estimate of all of them."""
        return cls(torch.arange(len(found.log_px)), found)

    def of(self, rows: Tensor) -> Estimate:
        """What was found of data at places that are among its own."""
        place = torch.full((int(self.rows.max()) + 1,), -1)
        place[self.rows] = torch.arange(len(self.rows))
        return self.found.take(place[rows])

    def take(self, kept: Tensor) -> Part:
        """Those of the data that are kept, a mask `(M,)`."""
        places = kept.nonzero().flatten()
        return Part(self.rows[places], self.found.take(places))


@dataclass(frozen=True)
class Step:
    """What was tried.

    Attributes:
        method: its name.
        num_data: on how many data.
        num_vouched: for how many it vouches at an error that is small enough.
        evaluations: of each of them.
        seconds: for all.
    """

    method: str
    num_data: int
    num_vouched: int
    evaluations: float
    seconds: float

    def __str__(self) -> str:
        return f"{self.method} {self.num_vouched:,} of {counted(self.num_data, 'data')}"

    def summary(self) -> dict[str, Any]:
        """By name."""
        return {**vars(self), "seconds": round(self.seconds, 3)}


class Standing:
    """Of N data, how far each has come.

    Args:
        num_data: N.
        target_error: nats; the standard error that is small enough.

    Attributes:
        steps: what was tried.
        unsettled: data for which nothing may vouch, `(N,)`.
        missed: data of which the last estimate misses a mode, `(N,)`.
    """

    def __init__(self, num_data: int, target_error: float) -> None:
        self.target_error = target_error
        self.steps: list[Step] = []
        self.unsettled = torch.zeros(num_data, dtype=torch.bool)
        self.missed = self.unsettled.clone()
        self._enough, self._vouched = self.unsettled.clone(), self.unsettled.clone()
        self._tried: list[Part] = []
        self._stands = torch.full((num_data,), -1)

    def left(self) -> Tensor:
        """The places of the data for which nothing is good enough yet."""
        return (~self._enough).nonzero().flatten()

    def unvouched(self) -> Tensor:
        """The places of the data that stand by chains, and for which nothing vouches."""
        chains = [isinstance(part.found, AnnealedEstimate) for part in self._tried]
        return (~self._vouched & torch.tensor(chains)[self._stands]).nonzero().flatten()

    def take(
        self, rows: Tensor, found: Estimate, seconds: float, *, settles: bool = False
    ) -> Tensor:
        """An estimate of the data at `rows`; the places of those for which it is good enough.

        Args:
            settles: every error is small enough.
        """
        if isinstance(found, ImportanceEstimate | AnnealedEstimate):
            self.missed[rows] = found.blind
            found = replace(found, blind=found.blind | self.unsettled[rows])

        reliable, error = found.reliable, found.log_px_error
        if isinstance(found, ImportanceEstimate):
            error = torch.maximum(found.judge_error, found.half_error)
            found = found.spoken()
        enough = reliable if settles else reliable & (error <= self.target_error)

        better = reliable | ~self._vouched[rows]
        self._stand(rows[better], Part(rows, found))
        self._vouched[rows] |= reliable
        self._enough[rows] |= enough

        self._note(Step(found.method, len(rows), int(enough.sum()), found.evaluations, seconds))
        return rows[enough]

    def again(self, rows: Tensor, found: Estimate) -> None:
        """The last step's estimate made anew for data for which it was good enough: it stands for
        them, and where it is not any more its datum goes on.
        """
        if isinstance(found, ImportanceEstimate | AnnealedEstimate):
            self.missed[rows] = found.blind
        found = self.put(rows, found)
        enough = found.reliable & (found.log_px_error <= self.target_error)
        self._vouched[rows], self._enough[rows] = found.reliable, enough
        last = self.steps.pop()
        self.steps.append(replace(last, num_vouched=last.num_vouched - int((~enough).sum())))

    def put(self, rows: Tensor, found: Estimate) -> Estimate:
        """An estimate that stands for data whatever it says: of them it has been chosen already.
        Returns it, with nothing vouched for where nothing may be.
        """
        if isinstance(found, ImportanceEstimate | AnnealedEstimate):
            found = replace(found, blind=found.blind | self.unsettled[rows])
        self._stand(rows, Part(rows, found))
        return found

    def parts(self) -> list[Part]:
        """The estimates that stand, of all data together."""
        kept = [self._stands[part.rows] == number for number, part in enumerate(self._tried)]
        whole = zip(self._tried, kept, strict=True)
        return [part.take(mask) for part, mask in whole if mask.any()]

    def _note(self, step: Step) -> None:
        """Add what was tried, to the last step where that was the same on other data."""
        if self.steps and self.steps[-1].method == step.method:
            last = self.steps.pop()
            step = replace(
                last,
                num_data=last.num_data + step.num_data,
                num_vouched=last.num_vouched + step.num_vouched,
                seconds=last.seconds + step.seconds,
            )
        self.steps.append(step)

    def _stand(self, rows: Tensor, part: Part) -> None:
        self._stands[rows] = len(self._tried)
        self._tried.append(part)


def told(parts: Sequence[Part]) -> tuple[Tensor, Tensor]:
    """log p(x) of all data `(N,)` and its standard errors, by the estimates that stand."""
    log_px = joined(parts, [part.found.log_px for part in parts])
    return log_px, joined(parts, [part.found.log_px_error for part in parts])


def joined(parts: Sequence[Part], values: Sequence[Tensor]) -> Tensor:
    """Values of the parts' data `(M,)` in the order of all data `(N,)`."""
    rows = torch.cat([part.rows for part in parts])
    found = torch.cat(list(values))
    return torch.empty_like(found).index_copy(0, rows, found)
