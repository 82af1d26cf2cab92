"""What a run tells while it goes: a row per epoch in metrics.csv, a live line or a few lines on
stderr, TensorBoard where it is installed.
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

from pyro_vae.diagnostics.units import Units
from pyro_vae.files.atomic import write_atomically
from pyro_vae.progress import live_line

Row = dict[str, float]

_LINES = 15  # for epochs, at most, where there is no terminal: with what else is said some twenty
_BAR = 16  # characters


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
    """One live line on a terminal, a few lines elsewhere, on stderr; use as a context.

    Elsewhere the lines are spread evenly over the epochs, the first and the last among them.
    """

    def __init__(self, epochs: int, steps_per_epoch: int, done: int, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

        self.console = Console(file=sys.stderr, quiet=quiet)
        self.epochs = epochs
        epoch = done // steps_per_epoch
        self.told = _spread(epoch + 1, epochs)
        self.untold = ""  # the line of the last epoch, as long as it has not been said
        self.note, self.compiled = "", False
        self.bar = live_line(
            self.console,
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(_BAR),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            transient=False,
        )
        self.live = self.console.is_terminal and not quiet
        self.task = self.bar.add_task(
            "",
            total=epochs * steps_per_epoch,
            completed=done,
            epoch=min(epoch + 1, epochs),
            epochs=epochs,
            note="",
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
        self.end()

    def end(self) -> None:
        """No epoch follows: the last one is said, if it has not been."""
        if self.live:
            self.bar.stop()
        elif self.untold:
            self.say(self.untold)
        self.untold, self.live = "", False

    def say(self, text: str) -> None:
        """A line of its own."""
        self.console.print(text, soft_wrap=True, highlight=False, markup=False)

    def compiling(self) -> None:
        """The next step is compiled first."""
        if self.live:
            self.bar.update(self.task, note="compiling the step")
        elif not self.compiled:
            self.say("compiling the step, which takes some seconds")
        self.compiled = True

    def step(self, epoch: int) -> None:
        self.bar.update(self.task, advance=1, epoch=epoch + 1, note=self.note)

    def epoch(self, row: Row, loss_is_elbo: bool) -> None:
        self.note = _in_short(row, loss_is_elbo)
        self.bar.update(self.task, note=self.note)

        epoch = int(row["epoch"])
        self.untold = f"epoch {epoch}/{self.epochs}  {_in_words(row, loss_is_elbo)}"
        if epoch in self.told and not self.live:
            self.say(self.untold)
            self.untold = ""


def _spread(first: int, last: int) -> set[int]:
    """Up to `_LINES` of these epochs, evenly spread, the first and the last among them.

    Example:
        >>> sorted(_spread(1, 100))
        [1, 8, 15, 22, 29, 36, 43, 51, 58, 65, 72, 79, 86, 93, 100]
    """
    epochs = range(first, last + 1)
    if len(epochs) <= _LINES:
        return set(epochs)
    return {epochs[round(n * (len(epochs) - 1) / (_LINES - 1))] for n in range(_LINES)}


def _in_short(row: Row, loss_is_elbo: bool) -> str:
    """A few words for a live line."""
    if not math.isnan(row["valid_elbo"]):
        told = f"valid ELBO {row['valid_elbo']:.2f} nats"
    elif loss_is_elbo:
        told = f"train ELBO {-row['train_loss']:.2f} nats"
    else:
        told = f"train loss {row['train_loss']:.2f} nats"
    units = row["active_units"]
    return told if math.isnan(units) else f"{told}, {units:.0f} active"


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
