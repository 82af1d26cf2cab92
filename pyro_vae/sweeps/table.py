"""A sweep as a table for a terminal."""

from __future__ import annotations

import math

from rich.table import Table

from pyro_vae.files.texts import printable
from pyro_vae.report.tables import cell
from pyro_vae.sweeps.spec import value_told
from pyro_vae.sweeps.swept import Sweep


def table_of(sweep: Sweep) -> Table:
    """A row for each cell: what varies, and what was found."""
    caption = "nats per datum; ELBO of the validation data at the epoch kept, +- standard error"
    table = Table(title=printable(sweep.headline()), caption=caption)
    for name in sweep.names:
        table.add_column(printable(name), justify="right")
    for name in ("ELBO", "log p(x)", "active units", "seconds", "state"):
        table.add_column(name, justify="right")

    for row in sweep.rows:
        own = [printable(value_told(row[name])) for name in sweep.names]
        scored = math.isfinite(row["log_px"])
        table.add_row(
            *own,
            _told(row["valid_elbo"], 2),
            cell(row["log_px"], row["log_px_error"]) if scored else "",
            _told(row["active_units"], 0),
            _told(row["seconds"], 1),
            row["state"],
        )
    return table


def _told(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else ""
