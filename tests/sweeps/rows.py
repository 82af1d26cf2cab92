"""Sweeps as they would be after many trainings."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

from pyro_vae.sweeps.swept import Sweep


def a_row(own: dict[str, Any], place: int, state: str = "done") -> dict[str, Any]:
    """A cell whose figures rise and fall with its place."""
    done = state == "done"
    found = {"valid_elbo": -25.0 - place % 5, "log_px": -24.0 - place % 5, "log_px_error": 0.4}
    found |= {"elbo": -25.0, "rate": 3.0, "active_units": 2.0, "seconds": 10.0 + place}
    row: dict[str, Any] = {"cell": ",".join(f"{k}={v}" for k, v in own.items())} | own
    row |= {name: value if done else math.nan for name, value in found.items()}
    return row | {"state": state, "reason": "" if done else "a disk that is full"}


def a_sweep(grid: dict[str, list[Any]], failed: int = -1) -> Sweep:
    """All cells of a grid done, but for the one at this place."""
    rows = []
    for place, values in enumerate(product(*grid.values())):
        own = dict(zip(grid, values, strict=True))
        rows.append(a_row(own, place, "failed" if place == failed else "done"))
    return Sweep(Path("runs/latent"), tuple(grid), tuple(rows))
