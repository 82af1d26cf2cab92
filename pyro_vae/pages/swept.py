"""The page of a sweep: its table, what was found over what varies, which cells failed."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from datetime import date
from importlib.metadata import version
from typing import Any

from pyro_vae.files.texts import printable
from pyro_vae.pages.pictures import picture_of
from pyro_vae.report.page import Page, Picture, Section, Table
from pyro_vae.report.plots import views
from pyro_vae.results import counted, with_error
from pyro_vae.sweeps.plots import LABELS, axis_of
from pyro_vae.sweeps.spec import value_told
from pyro_vae.sweeps.swept import Sweep

_TITLES = {
    "log_px": "log p(x)",
    "valid_elbo": "ELBO",
    "active_units": "Latent units",
    "seconds": "Time",
}


def page_of_sweep(sweep: Sweep) -> Page:
    """The page of a sweep, from its table alone."""
    name = printable(sweep.folder.resolve().name)
    made = (
        f"Made by pyro_vae {version('pyro-vae')} with Python {platform.python_version()} on"
        f" {date.today().isoformat()}. Figures are nats per datum unless they say otherwise."
    )
    sections = [_cells(sweep)]
    if sweep.num_done:
        sections.insert(0, _found(sweep))
    return Page(f"pyro_vae: the sweep {name}", _lead(sweep), sections, [], made)


def _lead(sweep: Sweep) -> str:
    told = f"{counted(len(sweep.rows), 'cells')}, {sweep.num_done} of them done"
    *names, last = sweep.names or ("nothing",)
    return f"{told}: what varies is {' and '.join(filter(None, [', '.join(names), last]))}."


def _found(sweep: Sweep) -> Section:
    """What was found over what varies."""
    over = axis_of(sweep)
    pictures: list[Picture] = []
    for view in views(sweep):
        alt = f"{LABELS[view]} over {over}, a mark for each cell or mean over seeds"
        pictures.append(picture_of(sweep, alt, _TITLES[view], view))
    words = [
        f"The highest: {text}. Errors are over the data, which are the same for all cells:"
        " `pyro-vae rank` tells by paired differences which of two is better."
        for name, text in sweep.figures()
        if name == "highest"
    ]
    return Section("What varies, and what comes of it", words, pictures=pictures)


def _cells(sweep: Sweep) -> Section:
    """A row for each cell, those that failed named first."""
    failed = [text for name, text in sweep.figures() if name == "failed"]
    words = [
        "Each cell is a run of its own, in the folder of its name:"
        f" `pyro-vae report {printable(sweep.folder / sweep.rows[0]['cell'])}` shows it."
    ]
    table = Table.of([_row(sweep, row) for row in sweep.rows], whole="sweep.csv")
    alarm = f"Failed: {'; '.join(failed)}" if failed else ""
    return Section("The cells", words, alarm, tables=[table])


def _row(sweep: Sweep, row: Mapping[str, Any]) -> dict[str, object]:
    """What the page says of a cell."""
    told: dict[str, object] = {name: value_told(row[name]) for name in sweep.names}
    told["validation ELBO"] = row["valid_elbo"]
    if sweep.quantity == "log_px":
        scored = math.isfinite(row["log_px"])
        told["log p(x)"] = with_error(row["log_px"], row["log_px_error"]) if scored else None
        told |= {"ELBO": row["elbo"], "rate": row["rate"]}
    told |= {"active units": row["active_units"], "seconds": round(row["seconds"], 1)}
    return told | {"state": row["state"]}
