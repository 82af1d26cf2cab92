"""Tables, for a terminal and as CSV files, with standard errors beside the values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

Summary = dict[str, Any]


def cell(value: float, error: float, digits: int = 2) -> str:
    """A value and its standard error, as many digits in all rows of a column."""
    told = f"{value:.{digits}f}"
    return f"{told} +- {error:.{digits}f}" if math.isfinite(error) else told


def share(value: float) -> str:
    """A share as a percentage, or n/a where it is unknown."""
    return f"{100 * value:.1f}%" if math.isfinite(value) else "n/a"


def with_caveat(caption: str, *caveats: str) -> str:
    """What stands below figures, with what the models' likelihoods say must be said, once each."""
    return "; ".join([caption, *dict.fromkeys(filter(None, caveats))])


def evidence_table(title: str, rows: Sequence[tuple[str, Summary, float]]) -> Table:
    """A row per guide: name, summary of its `Evidence`, seconds; nats a datum +- s.e. over data."""
    caption = "nats per datum, mean +- standard error over the data; log p(x) is a lower bound"
    caveats = [summary.get("caveat", "") for _, summary, _ in rows]
    table = Table(title=title, caption=with_caveat(caption, *caveats))

    table.add_column("guide", no_wrap=True)
    scores = ("ELBO", "rate", "distortion", "log p(x)")
    for name in (*scores, "k-hat above threshold", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)

    for name, s, seconds in rows:
        keys = ("elbo", "rate", "distortion", "log_px")
        cells = [cell(s[key], s[f"{key}_error"]) for key in keys]
        table.add_row(name, *cells, share(s["share_above_threshold"]), f"{seconds:.1f}")
    return table


def show(table: Table) -> None:
    """Print a table to stdout, wide enough for its cells where stdout is no terminal."""
    console = Console()
    (console if console.is_terminal else Console(width=140)).print(table)
