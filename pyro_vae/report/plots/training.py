"""A run, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pyro_vae.arguments import check_flag, check_integer
from pyro_vae.inference.outcome import Run
from pyro_vae.programs.inputs import caveat_of
from pyro_vae.report.plots.marks import (
    DISTORTION,
    MAIN,
    RATE,
    REST,
    Array,
    check_rows_of,
    column,
    finite,
    left_out,
    legend,
    title,
    whole_numbers,
)
from pyro_vae.report.plots.units import draw_rates
from pyro_vae.report.plots.view import View, Views, check_axes, views

if TYPE_CHECKING:
    from matplotlib.axes import Axes

History = Sequence[Mapping[str, Any]]

_FEW = 30  # epochs up to which each is marked


@views.register(Run)
def _(run: Run) -> Views:
    found = {"elbo": View(partial(_elbo, run))}
    if run.data.valid is not None:
        found["rate"] = View(partial(_rate, run))
    if run.units is not None:
        found["units"] = View(partial(draw_rates, run.units))
    return found


def _elbo(run: Run, axes: Axes) -> None:
    learning_curve(run.history, axes, kept=run.epoch, loss_is_elbo=run.loss_is_elbo)
    title(axes, run.headline(), caveat_of(run.model))


def _rate(run: Run, axes: Axes) -> None:
    rate_curve(run.history, axes, kept=run.epoch)
    title(axes, run.headline(), caveat_of(run.model))


def learning_curve(
    history: History, axes: Axes, *, kept: int | None = None, loss_is_elbo: bool | None = None
) -> None:
    """Draw the ELBO of the train and the validation data by epoch, nats per datum.

    Args:
        history: rows as `Run.history` has them, or as `csv.DictReader` reads them from metrics.csv.
        axes: to draw into.
        kept: the epoch whose parameters were kept.
        loss_is_elbo: whether the train loss is minus the ELBO where beta is 1; None where that is
            not known.

    Raises:
        ValueError: a history without a number to draw.
    """
    if loss_is_elbo is not None:
        check_flag("loss_is_elbo", loss_is_elbo)
    epochs = _checked(history, axes, kept)
    train, valid = -column(history, "train_loss", "history"), _of(history, "valid_elbo")
    drawn = [values for values in (train, valid) if np.isfinite(values).any()]
    finite("loss or ELBO", np.concatenate(drawn or [train]), argument="history")

    # within the warm-up the loss is another
    warm = (_of(history, "beta") < 1) & bool(loss_is_elbo)
    if warm.any():
        risen = np.where(warm | np.roll(warm, 1), train, np.nan)
        risen[0] = train[0] if warm[0] else np.nan
        told = r"minus train loss while $\beta < 1$ (not the ELBO)"
        _line(axes, epochs, risen, color=REST, linestyle=":", label=told)
    names = {True: "train ELBO", False: "minus train loss (not the ELBO)", None: "minus train loss"}
    _line(axes, epochs, np.where(warm, np.nan, train), REST, "--", names[loss_is_elbo])
    _line(axes, epochs, valid, MAIN, "-", "validation ELBO")

    left_out(axes, sum(int((~np.isfinite(values)).sum()) for values in drawn))
    _mark_kept(axes, epochs, np.where(np.isfinite(valid), valid, train), kept)
    axes.set_ylabel("ELBO, nats per datum" if loss_is_elbo else "nats per datum")
    legend(axes, "lower right")


def rate_curve(history: History, axes: Axes, *, kept: int | None = None) -> None:
    """Draw the rate and the distortion of the validation data by epoch, nats per datum.

    Args:
        history: as in `learning_curve`.
        axes: to draw into.
        kept: the epoch whose parameters were kept.

    Raises:
        ValueError: a history without a rate, as where no validation data were held out.
    """
    epochs = _checked(history, axes, kept)
    rate, distortion = (_of(history, f"valid_{name}") for name in ("rate", "distortion"))
    _, missing = finite("rate of validation data", rate, distortion, argument="history")

    _line(axes, epochs, distortion, DISTORTION, "-", "distortion")
    _line(axes, epochs, rate, RATE, "--", "rate")
    left_out(axes, missing)
    _mark_kept(axes, epochs, rate, kept, "rate ")
    axes.set_ylabel("validation data, nats per datum")
    legend(axes)


def _of(history: History, name: str) -> Array:
    return column(history, name, "history")


def _checked(history: History, axes: Axes, kept: int | None) -> Array:
    """The epochs, of arguments that can be drawn."""
    check_rows_of("history", history, "epoch")
    check_axes("axes", axes)
    if kept is not None:
        check_integer("kept", kept, 1)
    epochs = _of(history, "epoch")
    return np.where(np.isfinite(epochs), epochs, np.arange(1, len(history) + 1))


def _line(axes: Axes, epochs: Array, values: Array, color: str, linestyle: str, label: str) -> None:
    if np.isfinite(values).any():
        marker = "o" if len(epochs) <= _FEW else None
        axes.plot(
            epochs, values, color=color, linestyle=linestyle, marker=marker, ms=3, label=label
        )


def _mark_kept(axes: Axes, epochs: Array, values: Array, kept: int | None, what: str = "") -> None:
    """The epoch whose parameters were kept, and the x-axis."""
    if kept is not None:
        place = np.flatnonzero(epochs == kept)
        at = values[place] if len(place) else np.array([np.nan])
        label = f"kept: epoch {kept}" + (f", {what}{at[0]:.2f} nats" if np.isfinite(at[0]) else "")
        if np.isfinite(at[0]):
            axes.plot(kept, at[0], "o", color=REST, mfc="none", ms=9, mew=1.5, label=label)
        else:
            axes.axvline(kept, color=REST, linewidth=0.8, label=label)

    axes.set_xlabel("epoch")
    whole_numbers(axes)
