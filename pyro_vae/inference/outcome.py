"""What a run came to: the rows of its epochs, the state of its latent, and one sentence that says
what was learned.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from pyro_vae.data import Dataset
from pyro_vae.diagnostics.collapse import Alarm, CollapseWarning, find_collapse
from pyro_vae.diagnostics.units import Units, latent_units
from pyro_vae.inference.job import Job, Position
from pyro_vae.inference.record import Row, write_units
from pyro_vae.programs.calls import first_line
from pyro_vae.programs.given import inside
from pyro_vae.programs.inputs import caveat_of
from pyro_vae.programs.traces import Program
from pyro_vae.results import Result, counted

PROBE = 1000  # rows of data on which the units are followed
MIN_VALID = 10  # validation rows, below which they decide nothing


@dataclass(repr=False)
class Run(Result):
    """A finished run: the trained programs, a row of metrics per epoch, and what became of the
    latent units.

    `print(run)` says in one sentence what was learned.

    Attributes:
        history: per epoch the train loss (minus the ELBO where beta is 1), validation ELBO, rate
            and distortion, active units, learning rate and beta; nats per datum.
        epoch: whose parameters were kept, the best one's by the validation ELBO or the last one's.
        units: rate and variance of each unit after the last epoch; None where no latent belongs to
            a datum.
        alarm: of posterior collapse; None where there is none.
        data: what it was trained on, with the validation rows that were held out.
        loss_is_elbo: whether the train loss of the epoch that was kept is minus the ELBO.
    """

    model: Program
    guide: Program
    history: list[Row]
    epoch: int
    folder: Path | None
    units: Units | None
    alarm: Alarm | None
    data: Dataset
    loss_is_elbo: bool

    def __str__(self) -> str:
        return f"{_in_words(self)}; next: {self.next}"

    def headline(self) -> str:
        names = " and ".join(_name(program) for program in (self.model, self.guide))
        return f"{names} trained on {self.data.name}, {counted(len(self.history), 'epochs')}"

    def figures(self) -> Iterator[tuple[str, str]]:
        last = self.history[self.epoch - 1]
        loss = "minus the ELBO" if self.loss_is_elbo else "no ELBO"
        yield "train loss", f"{last['train_loss']:.2f} nats per datum ({loss})"

        if self.data.valid is not None:
            parts = f"rate {last['valid_rate']:.2f}, distortion {last['valid_distortion']:.2f}"
            held = counted(len(self.data.valid), "validation data")
            yield "valid ELBO", f"{last['valid_elbo']:.2f} nats per datum ({parts}), {held}"
        if self.units is not None:
            yield "units", f"{self.units.num_active} of {len(self.units.names)} active"

        best = "" if self.epoch == len(self.history) else ", the best one's"
        yield "kept", f"the parameters of epoch {self.epoch}{best}"
        if self.folder is not None:
            yield "folder", str(self.folder)
            yield "folder", str(self.folder)
        yield "cost", f"{self.history[-1]['seconds']:.1f} s"
        alarm = "no sign of collapse" if self.alarm is None else str(self.alarm)
        yield "verdict", "; ".join(filter(None, (alarm, caveat_of(self.model))))

    def summary(self) -> dict[str, Any]:
        """The metrics of the epoch whose parameters were kept, and how the run ended."""
        units = self.units
        return dict(self.history[self.epoch - 1]) | {
            "epochs": len(self.history),
            "kept_epoch": self.epoch,
            "num_active": None if units is None else units.num_active,
            "num_units": None if units is None else len(units.names),
            "alarm": None if self.alarm is None else str(self.alarm),
        }

    def columns(self) -> dict[str, list[Any]]:
        """The metrics, a row for each epoch."""
        return {name: [row[name] for row in self.history] for name in self.history[0]}

    @property
    def next(self) -> str:
        """What to do now, as a command or a call."""
        if self.alarm is not None:
            return "mend the collapse, see the warning"
        if self.folder is not None and (self.folder / "config.yaml").is_file():
            return f"pyro-vae evidence {self.folder}"
        return "pv.log_evidence(model, guide, x)"


def _name(program: Program) -> str:
    program = inside(program)
    return getattr(program, "__name__", type(program).__name__)


def _in_words(run: Run) -> str:
    """What the epoch that was kept says: ELBO of held-out data, active units, rate."""
    last, units, data = run.history[run.epoch - 1], run.units, run.data
    held = data.valid is not None
    nats = last["valid_elbo"] if held else -last["train_loss"]

    told = f"after {len(run.history)} epochs "
    if held:
        told += f"the ELBO of {len(data.valid or ())} validation data is {nats:.2f} nats a datum"
    elif run.loss_is_elbo:
        told += f"the ELBO of the train data is {nats:.2f} nats a datum (none were held out)"
    else:
        told += f"the train loss is {last['train_loss']:.2f} nats a datum (none were held out)"

    bits = bits_per_dim(run.model, data, nats) if held or run.loss_is_elbo else None
    if bits is not None:
        told += f" ({bits:.3f} bits a value)"
    if run.epoch < len(run.history):
        told += f", at epoch {run.epoch}, which was kept"

    if units is not None:
        told += f"; {units.num_active} of {len(units.names)} latent units active"
        if math.isfinite(last["valid_rate"]):
            told += f", rate {last['valid_rate']:.2f} nats"
    caveat = caveat_of(run.model)
    return f"{told}; {caveat}" if caveat else told


def bits_per_dim(model: Program, data: Dataset, nats: float) -> float | None:
    """Bits per value of a log-probability of a datum; None where the model's likelihood gives no
    probability of values.
    """
    rules = getattr(getattr(model, "likelihood", None), "discrete_under", ())
    return data.bits_per_dim(nats, discrete=data.binarise in rules)


def probe_of(model: Program, guide: Program, data: Dataset) -> tuple[Tensor, Tensor] | str | None:
    """The data on which units are followed; None where there are no units, a reason where they
    cannot be followed.
    """
    chosen = data.train if data.valid is None or len(data.valid) < MIN_VALID else data.valid
    split = chosen.sample
    x, index = split.x[:PROBE], split.numbers()[:PROBE]
    if len(x) < 2:
        return "two data are needed for a variance over the data"
    try:
        return None if latent_units(model, guide, x[:8], index[:8]) is None else (x, index)
    except Exception as error:  # whatever a user's program raises, or a distribution does not know
        return first_line(error)


def follow(job: Job, at: Position, epoch: int) -> Units | None:
    """Look at the units after an epoch, note which are active, and write their table."""
    if not isinstance(job.probe, tuple):
        return None
    units = latent_units(job.model, job.guide, *job.probe)
    assert units is not None

    before = at.last_active or [0] * len(units.names)
    both = zip(units.active.tolist(), before, strict=True)
    at.last_active = [max(epoch, last) if active else last for active, last in both]
    if job.folder is not None:
        write_units(job.folder / "units.csv", units, at.last_active)
    return units


def look_for_collapse(job: Job, at: Position, units: Units | None, last: bool) -> Alarm | None:
    """The alarm after an epoch, if there is cause, or of the epoch that is kept in the end; the
    first one is a warning.
    """
    if units is None:
        return None

    recipe = job.recipe
    done = (at.best_epoch or at.epoch) if last else at.epoch
    now = zip(units.active.tolist(), at.last_active, strict=True)
    alarm = find_collapse(
        [int(row.get("active_units", 0)) for row in at.history[:done]],
        [done if active else min(epoch, done - 1) for active, epoch in now],
        units.names,
        epochs=done if last else recipe.epochs,
        warmup=recipe.warmup_epochs,
        steps=at.epoch * job.steps_per_epoch,
    )

    if alarm is not None and not at.warned:
        at.warned = True
        warnings.warn(str(alarm), CollapseWarning, stacklevel=4)  # who called `fit`
    return alarm
