"""The alarm of posterior collapse: a latent that is not used, followed through the epochs of a run.

Superfluous units die in every good run, once the KL weight has risen and the decoder has no use for
them. The alarm is for what is wrong with any decoder: no unit is active, or hardly one of those
that were when the warm-up was over. It is given once that has lasted, and not for runs of a few
steps, in which nothing can have been learned yet.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

MIN_STEPS = 300  # of a run that can be judged
PATIENCE = 0.1  # share of the epochs for which the latent must have been dead
FEW = 0.2  # share of the units active at the warm-up's end, below which the latent has died


class CollapseWarning(UserWarning):
    """The latent of a run is not used."""


@dataclass(frozen=True)
class Alarm:
    """A collapse: since which epoch, of which units, in words."""

    since: int
    units: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return self.text


def find_collapse(
    active: Sequence[int],
    last_active: Sequence[int],
    names: Sequence[str],
    *,
    epochs: int,
    warmup: float,
    steps: int,
) -> Alarm | None:
    """Whether the run has lost its latent by now.

    Args:
        active: number of active units after each epoch.
        last_active: for each unit the last epoch after which it was active, 0 for never.
        names: of the units.
        epochs: that the run is to have.
        warmup: epochs of KL warm-up.
        steps: of training so far.

    Returns:
        The alarm, or None. At the last epoch the state of that epoch decides; before it, a state
        that has lasted for a tenth of the epochs, at least three, with the full KL weight.
    """
    done = len(active)
    full = active[max(0, math.ceil(warmup) - 1) :] or active[-1:]  # from the warm-up's end on
    if steps < MIN_STEPS or not full or not names:
        return None

    limit = FEW * max(full)
    dead = [count == 0 or count < limit for count in active]
    lasted = next((number for number, state in enumerate(reversed(dead)) if not state), done)
    needed = 1 if done >= epochs else max(3, int(PATIENCE * epochs))
    if lasted < needed or (done < epochs and done - needed < warmup):
        return None
    return _tell(active, last_active, names, done - lasted + 1)


def _tell(
    active: Sequence[int], last_active: Sequence[int], names: Sequence[str], since: int
) -> Alarm:
    count, total = active[-1], len(names)
    gone = tuple(name for name, last in zip(names, last_active, strict=True) if last < len(active))
    if max(active) == 0:
        what = f"none of the {total} latent units has been active in {len(active)} epochs"
    else:
        rest = "none is left" if count == 0 else f"{count} left"
        what = (
            f"the latent units died, {rest} of {max(active)} that were active, since epoch"
            f" {since} ({listed(gone)})"
        )

    text = f"posterior collapse: {what}; the latent says next to nothing of the data. {REMEDIES}"
    return Alarm(since, gone, text)


REMEDIES = (
    "Try, in this order: a start of sigma near the scale of the data (Gaussian without sigma), a"
    " longer KL warm-up (warmup_epochs), free bits (loss FreeBits), more particles in the bound"
    " (loss Bound, IWAE); or a smaller beta"
)


def warn_unused(num_active: int, num_units: int) -> None:
    """The alarm for a guide at one moment, whose history is not known, as a `CollapseWarning`."""
    if num_active == 0:
        text = (
            f"posterior collapse: none of the {num_units} latent units is active"
            f" on these data. {REMEDIES}"
        )
        warnings.warn(text, CollapseWarning, stacklevel=2)


def use_of_latent(num_active: int, num_units: int) -> str:
    """How much of a latent is used: the words with which a verdict begins, since all else is easily
    right where the latent is dead.
    """
    if num_active == 0:
        return f"the latent is NOT used, 0 of {num_units} units active"
    if num_active < num_units:
        return f"the latent is used in part, {num_active} of {num_units} units active"
    return f"the latent is used, {num_units} of {num_units} units active"


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names with commas, the first ones where there are many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
