"""How many faults of each kind were tried and how many went wrong: what `make faults` ends with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

PREFIX = "faults: "
Tally = Callable[[str, int, int], None]
"""Called with a kind in the plural, the number that was tried and the number that went wrong."""


def summary(reports: Iterable[Any]) -> list[str]:
    """A line for each kind, from the reports of all tests."""
    counts: dict[str, tuple[int, int]] = {}
    for report in reports:
        for name, value in getattr(report, "user_properties", ()):
            if name.startswith(PREFIX) and getattr(report, "when", "") == "call":
                tried, wrong = counts.get(name, (0, 0))
                counts[name] = tried + value[0], wrong + value[1]
    return [
        f"{name.removeprefix(PREFIX)}: {tried:,} tried, {wrong:,} went wrong"
        for name, (tried, wrong) in sorted(counts.items())
    ]
