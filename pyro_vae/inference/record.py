"""What a run tells while it goes: a row per epoch in metrics.csv, a progress bar, TensorBoard where
it is installed.
"""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pyro_vae.diagnostics.units import Units
from pyro_vae.files.atomic import write_atomically

Row = dict[str, float]


def write_metrics(path: Path, history: list[Row]) -> None:
    """Write the history as a table, one row per epoch, atomically."""
    # a run of an earlier version knew fewer
    names = dict.fromkeys(name for row in history for name in row)
    _write_table(path, list(names), history)


def write_units(path: Path, units: Units, last_active: list[int]) -> None:
    """Write the latent units after the last epoch as a table, one row per unit, atomically."""
    both = zip(units.rows(), last_active, strict=True)
    rows = [row | {"last_active_epoch": epoch} for row, epoch in both]
    _write_table(path, list(rows[0]), rows)


def _write_table(path: Path, names: list[str], rows: Sequence[Mapping[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=names, restval=math.nan)
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))


def tensorboard_writer(folder: Path | None) -> Any:
    """A TensorBoard writer into `folder`; None where there is no folder or no TensorBoard."""
    if folder is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))


def write_scalars(writer: Any, row: Row, units: Units | None, epoch: int) -> None:
    """An epoch's row and the rates of the units, for TensorBoard."""
    rates: Row = {}
    if units is not None:
        rates = {f"unit_rate/{unit['unit']}": unit["rate"] for unit in units.rows()}
    for name, value in (row | rates).items():
        writer.add_scalar(name, value, epoch)


class Reporter:
    """A progress bar on a terminal, a line per epoch elsewhere, on stderr; use as a context."""

    def __init__(self, epochs: int, steps_per_epoch: int, done: int, quiet: bool) -> None:
        self.console = Console(file=sys.stderr, quiet=quiet)
        self.epochs = epochs
        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
        )
        self.live = self.console.is_terminal and not quiet
        self.task = self.bar.add_task(
            "fit", total=epochs * steps_per_epoch, completed=done, epoch=0, note=""
        )

    def __enter__(self) -> Reporter:
        if self.live:
            self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live:
            self.bar.stop()

    def say(self, text: str) -> None:
        """A line of its own."""
        self.console.print(text, soft_wrap=True, highlight=False)

    def step(self, epoch: int) -> None:
        self.bar.update(self.task, advance=1, epoch=epoch + 1)

    def epoch(self, row: Row, loss_is_elbo: bool) -> None:
        note = _in_words(row, loss_is_elbo)
        self.bar.update(self.task, note=note)
        if not self.console.is_terminal:
            self.say(f"epoch {int(row['epoch'])}/{self.epochs}  {note}")


def _in_words(row: Row, loss_is_elbo: bool) -> str:
    """One line for an epoch: ELBOs in nats per datum and the rate of the work; only minus the ELBO
    is called so.
    """
    told = f"train loss {row['train_loss']:.2f}"
    if loss_is_elbo:
        told = f"train ELBO {-row['train_loss']:.2f}"
    if not math.isnan(row["valid_elbo"]):
        told += f"  valid ELBO {row['valid_elbo']:.2f}"

    told += " nats"
    if not math.isnan(row["active_units"]):
        told += f"  active units {row['active_units']:.0f}"
    return f"{told}  {row['data_per_second']:,.0f} data/s"
