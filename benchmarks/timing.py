"""Interleaved timing: A B C A B C ..., so that a slow minute of the machine hits every side alike.

A sample is the wall-clock time of one turn of one side, scaled to the table's unit. A side's figure
is the median of its samples; its ratio to the baseline is the median over the rounds of (its sample
/ the baseline's sample of that round), which a drift of the machine leaves alone. Below 1 is faster
than the baseline.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Note = dict[str, float | str]


class Skipped(Exception):
    """A side that cannot be run here; the message says why."""


def nothing() -> None:
    """Do nothing: for a side that needs no preparation."""


@dataclass
class Side:
    """One way to do the work of a table.

    Attributes:
        run: one turn, timed.
        scale: from the seconds of a turn to the table's unit, for the whole of the work.
        warm: run once, untimed, before all rounds (compilation, caches); `run` itself unless given.
        prepare: run before every turn, untimed, such as a step or two to bring the caches back.
        note: further columns of the side's row, filled in by then.
    """

    run: Callable[[], object]
    scale: float = 1.0
    warm: Callable[[], object] | None = None
    prepare: Callable[[], object] = nothing
    note: Note = field(default_factory=dict)


@dataclass
class Table:
    """The samples of one comparison.

    Attributes:
        section, setting: what was timed, such as "steps" and "784-200-200-50, batch 128".
        unit: of the samples; lower is better.
        baseline: name of the side with ratio 1.
        samples: by side, one value per round.
        notes: further columns by side.
        skipped: reasons by side.
    """

    section: str
    setting: str
    unit: str
    baseline: str
    samples: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, Note] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The table as JSON keeps it: every sample, and the statistics of each side."""
        baseline = self.samples.get(self.baseline)
        rows = []
        for side, samples in self.samples.items():
            row = {"side": side, **statistics_of(samples, baseline)}
            rows.append(row | {"samples": samples, "notes": self.notes.get(side, {})})
        names = ("section", "setting", "unit", "baseline", "skipped")
        return {name: getattr(self, name) for name in names} | {"rows": rows}


def statistics_of(samples: list[float], baseline: list[float] | None) -> dict[str, float | None]:
    """Median, quartiles and extremes of the samples, and the median of their ratios to the
    baseline's, round by round.
    """
    low = median = high = samples[0]
    if len(samples) > 1:
        low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    ratios = [a / b for a, b in zip(samples, baseline, strict=False)] if baseline else []
    return {
        "median": median,
        "low": low,
        "high": high,
        "min": min(samples),
        "max": max(samples),
        "ratio": statistics.median(ratios) if ratios else None,
    }


def measure(
    table: Table, sides: dict[str, Callable[[], Side]], rounds: int, sync: Callable[[], object]
) -> None:
    """Build and warm up every side, then time them in turn; what fails is skipped by name.

    Args:
        table: filled in place.
        sides: builders by name; a `Skipped`, or any other exception, gives the reason in
            `table.skipped`.
        rounds: turns of each side.
        sync: waits until the device is done; called on both ends of a turn.
    """
    ready: dict[str, Side] = {}
    for name, build in sides.items():
        try:
            side = build()
            (side.warm or side.run)()
        except Exception as error:  # a peer may fail in any way; the others are timed all the same
            table.skipped[name] = reason(error)
        else:
            ready[name] = side
            table.samples[name] = []

    gc.collect()
    for _ in range(rounds):
        for name, side in ready.items():
            side.prepare()
            sync()
            started = time.perf_counter()
            side.run()
            sync()
            table.samples[name].append((time.perf_counter() - started) * side.scale)
    table.notes |= {name: side.note for name, side in ready.items() if side.note}


def reason(error: Exception) -> str:
    """One line that says why a side was skipped."""
    text = " ".join(str(error).split())[:200]
    return text if isinstance(error, Skipped) else f"failed: {type(error).__name__}: {text}"
