"""What a sweep has come to: a row for each cell, with what varied and what was found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyro_vae.files.texts import printable, write_csv
from pyro_vae.report.plots.view import Views, views
from pyro_vae.results import Figures, Result, counted, with_error
from pyro_vae.runs.card import Card, is_run, number, read_card
from pyro_vae.sweeps.cells import RECORD, Cell, read_cells
from pyro_vae.sweeps.spec import same, shorts, value_told

SPEC = "sweep.yaml"
TABLE = "sweep.csv"
SEED = "seed"
DEFAULT = "default"  # of a setting that other cells have
_MEASURED = ("valid_elbo", "log_px", "log_px_error", "elbo", "rate", "active_units", "seconds")
_TOLD = 3  # cells that failed, which are named


@dataclass(frozen=True, repr=False)
class Sweep(Result):
    """The cells of a sweep.

    Attributes:
        folder: of the sweep.
        names: the settings that vary, as short as they can be.
        rows: a dictionary for each cell: its name, what varies ("default" where a cell does not say
            it), then what was found, NaN where it was not measured. `valid_elbo` is the ELBO of the
            validation data after the epoch that was kept; `log_px` with its standard error over the
            data, `elbo`, `rate` and `active_units` are of the data that were scored; all in nats
            per datum. `seconds` are those of the training; `state` is "done", "failed", "begun" or
            "to do", and `reason` why it failed.
    """

    folder: Path
    names: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]

    @property
    def failed(self) -> dict[str, str]:
        """Why each cell failed that did, by its name."""
        return {row["cell"]: row["reason"] for row in self.rows if row["state"] == "failed"}

    @property
    def num_done(self) -> int:
        """Cells that are done."""
        return sum(row["state"] == "done" for row in self.rows)

    @property
    def quantity(self) -> str:
        """The column that cells are compared by: `log_px` where any was scored, else
        `valid_elbo`.
        """
        scored = any(math.isfinite(row["log_px"]) for row in self.rows)
        return "log_px" if scored else "valid_elbo"

    @property
    def highest(self) -> dict[str, Any] | None:
        """The row of the highest value among the cells that are done; None without any."""
        judged = [
            row for row in self.rows if row["state"] == "done" and math.isfinite(row[self.quantity])
        ]
        return max(judged, key=lambda row: row[self.quantity], default=None)

    def headline(self) -> str:
        """What it is, in a line."""
        told = f"sweep of {counted(len(self.rows), 'cells')} in {printable(self.folder)}:"
        told += f" {self.num_done} done"
        return f"{told}, {len(self.failed)} failed" if self.failed else told

    def figures(self) -> Figures:
        """What varies, the highest cell, and which failed."""
        for name in self.names:
            values: list[Any] = []
            for row in self.rows:
                if not same(row[name], values):
                    values.append(row[name])
            yield printable(name), printable(", ".join(map(value_told, values)))

        first = self.highest
        if first is not None:
            value = with_error(first[self.quantity], _error(first, self.quantity), "nats per datum")
            what = {"log_px": "log p(x)", "valid_elbo": "validation ELBO"}[self.quantity]
            yield "highest", f"{printable(first['cell'])}, {what} {value}"

        failed = list(self.failed.items())
        for name, reason in failed[:_TOLD]:
            yield "failed", f"{printable(name)}: {reason}"
        if len(failed) > _TOLD:
            yield "failed", f"and {len(failed) - _TOLD} more"

    def summary(self) -> dict[str, Any]:
        """How many cells there are and are done, which failed and why, and the highest."""
        first = self.highest or {"cell": None, self.quantity: math.nan}
        facts = {"num_cells": len(self.rows), "num_done": self.num_done, "failed": self.failed}
        return facts | {"highest": first["cell"], self.quantity: first[self.quantity]}

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """A column for each thing that a row says; a value that is no number is a text."""
        found = {name: [row[name] for row in self.rows] for name in self.rows[0]}
        for name in self.names:
            if not all(type(value) in (int, float) for value in found[name]):
                found[name] = [value_told(value) for value in found[name]]
        return found

    def write(self) -> Path:
        """Write the table, a row for each cell, into the sweep's folder."""
        path, columns = self.folder / TABLE, self.columns()
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        write_csv(rows, path)
        return path


@views.register(Sweep)
def _(sweep: Sweep) -> Views:
    from pyro_vae.sweeps.plots import views_of  # which needs this file

    return views_of(sweep)


def _error(row: Mapping[str, Any], quantity: str) -> float:
    return row["log_px_error"] if quantity == "log_px" else math.nan


def is_sweep(folder: str | Path) -> bool:
    """Whether a folder holds a sweep, and no run."""
    path = Path(folder)
    return path.is_dir() and not is_run(path) and (path / SPEC).is_file()


def read_sweep(folder: str | Path) -> Sweep:
    """What the folder of a sweep holds now, from its small files alone.

    Raises:
        FileNotFoundError: no sweep there.
        ValueError: a record that is damaged.
    """
    path = Path(folder)
    cells = read_cells(path) if path.is_dir() else []
    if not cells:
        raise FileNotFoundError(
            f"{printable(folder)}: no {RECORD} in its folders, expected the folder of a sweep made"
            " by `pyro-vae sweep`"
        )
    names = list(dict.fromkeys(name for cell in cells for name in cell.own))
    short = shorts(names)
    rows = tuple(
        _row(cell, {short[name]: cell.settings.get(name, DEFAULT) for name in names})
        for cell in cells
    )
    return Sweep(path, tuple(short.values()), rows)


def _row(cell: Cell, own: Mapping[str, Any]) -> dict[str, Any]:
    card = read_card(cell.folder) if is_run(cell.folder) else None
    found = dict.fromkeys(_MEASURED, math.nan)
    if card is not None:
        found |= _measured(card, scored=cell.evidence is not None)
    return {"cell": cell.name} | dict(own) | found | {"state": cell.state, "reason": cell.reason}


def _measured(card: Card, scored: bool) -> dict[str, float]:
    last = card.history[-1] if card.history else {}
    found = {"valid_elbo": card.kept("valid_elbo"), "seconds": number(last.get("seconds"))}
    if scored:
        names = ("log_px", "log_px_error", "elbo", "rate", "active_units")
        found |= {name: number(card.evidence.get(name)) for name in names}
    elif card.active is not None:
        found["active_units"] = float(card.active[0])
    return found
