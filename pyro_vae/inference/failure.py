"""When a run breaks: find out where and why a loss or a parameter became NaN or infinite, and say
what to do; Ctrl-C.
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from pyro_vae.data import Split, Stream
from pyro_vae.evidence import Importance, log_evidence
from pyro_vae.inference.job import Job, Position
from pyro_vae.programs.evaluation import evaluation
from pyro_vae.programs.traces import particles, run_both

_FEW = 64  # data on which a program that has broken shows it


class NonFiniteLoss(ArithmeticError):
    """The loss became NaN or infinite; the message has the epoch, the step and the likely cause."""


def check_parameters(job: Job, at: Position) -> None:
    """Raise before a checkpoint of NaN or infinite parameters takes the place of a good one."""
    bad = _non_finite(job)
    if bad:
        where = f"epoch {at.epoch + 1}, step {at.step}"
        raise NonFiniteLoss(
            f"the parameters {bad[:3]} became non-finite in {where}: {_advice(job)}{_kept(job)}"
        )


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


def validation_scores(job: Job, at: Position) -> dict[str, float]:
    """ELBO, rate and distortion of the validation data, means in nats; a NonFiniteLoss where these
    are no numbers.

    The last step of an epoch may break what no loss has seen yet: without validation data, some of
    the train data are run. An ELBO of minus infinity is one where the train data's is finite: a
    bounded support may say so of new data.
    """
    if job.valid is None:
        if not _has_finite_scores(job, job.train):
            raise NonFiniteLoss(_explain_scores(job, at, "train"))
        return {}

    try:
        found = _mean_scores(job, job.valid)
    except ValueError as error:
        if _has_finite_scores(job, job.valid):
            raise  # something else is wrong
        raise NonFiniteLoss(_explain_scores(job, at, "validation")) from error

    allowed = found["elbo"] > -math.inf or _has_finite_scores(job, job.train)
    if not found["elbo"] < math.inf or not allowed:
        raise NonFiniteLoss(_explain_scores(job, at, "validation"))
    return found


def _mean_scores(job: Job, valid: Split | Stream) -> dict[str, float]:
    """ELBO, rate and distortion, means over data that are in memory or come in blocks."""
    one = Importance(num_particles=1, seed=job.recipe.seed)
    names = ("elbo", "rate", "distortion")
    sums = dict.fromkeys(names, 0.0)

    for part in [valid] if isinstance(valid, Split) else valid.blocks():
        score = log_evidence(job.model, job.guide, part.x, one, index=part.numbers())
        for name in names:
            sums[name] += getattr(score, name).mean().item() * (len(part) / len(valid))
    return sums


def _has_finite_scores(job: Job, split: Split | Stream) -> bool:
    """Whether the programs, as they are now, give finite densities to a few data; nothing of it is
    left behind.
    """
    some = split.sample
    x, index = some.x[:_FEW], some.numbers()[:_FEW]
    with evaluation(job.model, job.guide, device=x.device, seed=job.recipe.seed):
        try:
            if job.shared:
                traces = run_both(job.model, job.guide, x, index)
                return all(math.isfinite(trace.log_prob_sum()) for trace in traces)
            return bool(torch.isfinite(particles(job.model, job.guide, x, index).log_weights).all())
        except Exception:
            # a matrix of NaN that has no factors, say: the programs ran before the first step
            return False


def _explain_scores(job: Job, at: Position, name: str) -> str:
    """Epoch and cause, where the densities of some data became non-finite after an epoch whose
    losses were not.
    """
    what = f"log p(x, z) - log q(z | x) of the {name} data is NaN or infinite"
    return (
        f"{what} after epoch {at.epoch + 1}, at finite parameters: a density overflowed:"
        f" {_advice(job)}{_kept(job)}"
    )


def _explain(job: Job, at: Position, step: int, loss: float) -> str:
    """Epoch, step and likely cause of a non-finite loss."""
    assert at.order is not None
    rows = at.order.split(job.recipe.batch_size)[step]
    bad = _non_finite(job)

    # rows of a stream are looked at when they are read
    if isinstance(job.train, Split) and torch.isinf(job.train.x[rows]).any():
        cause = "the minibatch has infinite values: clean the data"
    elif bad:
        cause = f"the parameters {bad[:3]} became non-finite: {_advice(job)}"
    else:
        cause = (
            "a density overflowed at finite parameters (a scale near 0, or exp of a"
            f" large output): {_advice(job)}"
        )

    return f"the loss is {loss} at epoch {at.epoch + 1}, step {step + 1}: {cause}{_kept(job)}"


def _advice(job: Job) -> str:
    if job.recipe.beta == 0:
        return "with beta 0 nothing keeps a guide's scale from 0: fewer epochs, or a beta above 0"
    rate = job.optim.optimizer.param_groups[0]["lr"]
    clip = "" if job.recipe.clip_norm else " or set clip_norm"
    return f"lower the learning rate (now {rate:g}){clip}"


@contextmanager
def deferred_interrupt() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into an event, so that a step is never cut in two; the second one
    raises at once.
    """
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
