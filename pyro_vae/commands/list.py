"""`pyro-vae list`: the runs in a folder, a row for each, from their small files alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace
from rich.table import Table

from pyro_vae.files.texts import printable
from pyro_vae.report.tables import cell, show
from pyro_vae.runs.card import Card, cards, number
from pyro_vae.runs.usage import OneLineParser


def parser(trust: Sequence[str]) -> OneLineParser:
    """Its options."""
    made = OneLineParser(description="List the runs in a folder and in its folders.")
    made.add_argument("folder", type=str, nargs="?", default="runs", help="where to look")
    return made


def run(options: Namespace) -> None:
    """Print a row for each run, and what cannot be read."""
    folder = Path(options.folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{printable(folder)}: no such folder, expected one with runs")

    found = list(cards(folder))
    if not found:
        print(f"{printable(folder)}: no runs; `pyro-vae train --folder runs/first` makes one")
        return

    show(_table(folder, found))
    for card in found:
        for problem in card.problems:
            print(problem)


def _table(folder: Path, found: Sequence[Card]) -> Table:
    caption = "nats per datum; ELBO of the validation data at the epoch kept, or of those scored"
    table = Table(title=f"{len(found)} runs in {printable(folder)}", caption=caption)
    for name in ("run", "data", "model", "guide"):
        table.add_column(name, overflow="fold")
    for name in ("epochs", "ELBO", "log p(x)", "scored", "active units", "state"):
        table.add_column(name, justify="right")
    for card in found:
        inner = card.folder.relative_to(folder)
        table.add_row(card.name if inner == Path() else printable(inner), *_cells(card))
    return table


def _cells(card: Card) -> list[str]:
    made, planned = card.epochs
    active = card.active
    return [
        printable(card.data.get("name") or card.config.get("data") or "?"),
        card.class_of("model") or "?",
        card.class_of("guide") or "?",
        f"{made} of {planned}" if planned else f"{made}",
        _elbo(card),
        _log_px(card),
        _scored(card),
        f"{active[0]} of {active[1]}" if active else "",
        card.state,
    ]


def _elbo(card: Card) -> str:
    """Of the validation data after the epoch that was kept; or of data that were scored later."""
    valid = card.kept("valid_elbo")
    if math.isfinite(valid):
        return f"{valid:.2f}"
    scored = number(card.evidence.get("elbo"))
    return f"{scored:.2f} ({card.evidence.get('split')})" if math.isfinite(scored) else ""


def _log_px(card: Card) -> str:
    value = number(card.evidence.get("log_px"))
    if not math.isfinite(value):
        return ""
    return cell(value, number(card.evidence.get("log_px_error")))


def _scored(card: Card) -> str:
    count = number(card.evidence.get("num_data"))
    split = printable(card.evidence.get("split", ""))
    return f"{count:,.0f} {split}".strip() if math.isfinite(count) else ""
