"""When a run breaks: find out where and why a loss or a parameter became NaN or infinite, and say what to do; Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from pyro_vae.inference.job import Job, Position


class NonFiniteLoss(ArithmeticError):
    """The loss became NaN or infinite; the message has the epoch, the step and the likely cause."""


def check_finite(job: Job, at: Position) -> None:
    """Raise before a checkpoint of parameters that are NaN or infinite would take the place of a good one."""
    bad = _non_finite(job)
    if bad:
        where = f"epoch {at.epoch + 1}, step {at.step}"
        raise NonFiniteLoss(f"the parameters {bad[:3]} became non-finite in {where}: {_advice(job)}{_kept(job)}")


def _non_finite(job: Job) -> list[str]:
    return [name for name, value in job.params.items() if not torch.isfinite(value).all()]


def _kept(job: Job) -> str:
    return "" if job.folder is None else f"; the last good checkpoint is in {job.folder}"


def check_losses(job: Job, at: Position) -> None:
    """Raise where a loss of this epoch was NaN or infinite, and name its step."""
    bad = torch.nonzero(~torch.isfinite(job.losses[: at.step]))
    if len(bad):
        step = int(bad[0])
        raise NonFiniteLoss(_explain(job, at, step, job.losses[step].item()))


def _explain(job: Job, at: Position, step: int, loss: float) -> str:
    """Epoch, step and likely cause of a non-finite loss."""
    assert at.order is not None
    rows = at.order.split(job.recipe.batch_size)[step]
    bad = _non_finite(job)
    if not torch.isfinite(job.train.x[rows]).all():
        cause = "the minibatch has NaN or infinite values: clean the data"
    elif bad:
        cause = f"the parameters {bad[:3]} became non-finite: {_advice(job)}"
    else:
        cause = f"a density overflowed at finite parameters (a scale near 0, or exp of a large output): {_advice(job)}"
    return f"the loss is {loss} at epoch {at.epoch + 1}, step {step + 1}: {cause}{_kept(job)}"


def _advice(job: Job) -> str:
    rate = job.optim.optimizer.param_groups[0]["lr"]
    clip = "" if job.recipe.clip_norm else " or set clip_norm"
    return f"lower the learning rate (now {rate:g}){clip}"


@contextmanager
def deferred_interrupt() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into an event, so that a step is never cut in two; the second one raises at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: Any) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    signal.signal(signal.SIGINT, handle)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
