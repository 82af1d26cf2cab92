"""Stochastic variational inference on a model and a guide, one epoch after another.

    minimise over all parameters   sum_n  E_q(z | x_n) [ log q(z | x_n) - log p(x_n, z) ]

The step is that of `pyro.infer.SVI`, by stock Pyro or by the compiled engine (`compiled_svi.py`),
and the loop adds nothing to its mathematics: data in memory, indexed on the device; one torch
optimizer; a validation ELBO each epoch; checkpoints from which a killed run goes on bit for bit (on
a CPU). All noise (the data order and the binarisation in one stream, the guide's samples in
another) comes from generators seeded by the recipe whose states are in the checkpoint; the caller's
random state is left as it was.
"""

from __future__ import annotations

import math
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Unpack

import pyro
import torch

from pyro_vae.arguments import check_kind
from pyro_vae.data.arrays import Values
from pyro_vae.files.atomic import remove
from pyro_vae.inference.closing import beta_at, close_epoch, end_run
from pyro_vae.inference.failure import check_losses, check_parameters, deferred_interrupt
from pyro_vae.inference.folder import CHECKPOINT, claim, new_identity
from pyro_vae.inference.job import Job, Position, keep, restore
from pyro_vae.inference.outcome import Run, look_for_collapse
from pyro_vae.inference.prepare import (
    as_begun,
    check_arguments,
    data_for,
    is_enough,
    own_noise,
    prepare,
    resolve_device,
)
from pyro_vae.inference.recipe import Changes, Recipe, changed
from pyro_vae.inference.record import Reporter, tensorboard_writer, write_scalars
from pyro_vae.inference.together import meet
from pyro_vae.inference.weights import NAME as WEIGHTS
from pyro_vae.processes import LostProcess, count, is_first, own_share, summed_, wait
from pyro_vae.programs.given import with_context
from pyro_vae.programs.traces import Program
from pyro_vae.results import share

_SAVE_EVERY = 300.0  # seconds between checkpoints inside a long epoch


def fit(
    model: Program,
    guide: Program,
    data: Any,
    recipe: Recipe | None = None,
    *,
    valid: int | None = None,
    values: Values | None = None,
    folder: str | Path | None = None,
    device: str = "auto",
    resume: bool = False,
    quiet: bool = False,
    **changes: Unpack[Changes],
) -> Run:
    """Train a model and a guide by SVI, in place.

    Args:
        model, guide: Pyro programs `program(x, index)` whose nets are registered by `pyro.module`.
        data: a `Dataset`, or data `(N, *shape)` as a tensor, a numpy array, a pandas frame or a
            TensorDataset (its first tensor); pixels are binarised or dequantised as the model's
            likelihood needs them. A memory-mapped array, any other torch Dataset and a DataLoader
            are read batch by batch (`pyro_vae.data.streams`).
        recipe: how to train; `changes` replace single fields of it,
            `fit(model, guide, data, epochs=20)`. Batch size and KL warm-up follow the data where
            they are left out.
        valid: rows of an array to hold out for validation; None means a tenth (none for a guide
            with parameters per datum).
        values: what whole numbers in an array are, "pixels", "counts", "categories" or "real";
            asked for where their look does not tell.
        folder: keeps metrics.csv, units.csv, checkpoint.pt and, at the end, weights.safetensors;
            None keeps nothing. It is locked as long as the run lasts.
        device: "auto" (CUDA where there is a GPU), "cpu" or "cuda".
        resume: go on from the folder's checkpoint; the other arguments must be the same (epochs may
            grow).
        quiet: no progress on stderr, and no sentence at the end.

    Returns:
        The run, with its history and its latent units. A latent that is not used is a
        `CollapseWarning`, once.

    Raises:
        ValueError: programs, data or settings that cannot be trained; found before the first step.
        NonFiniteLoss: the loss became NaN or infinite; the last good checkpoint stays.
        KeyboardInterrupt: Ctrl-C, after the step in progress and a checkpoint.

    Example:
        >>> import torch
        >>> from pyro_vae import Amortized, LinearGaussian, MeanField, MLP
        >>> x, guide = torch.randn(64, 5), Amortized(MeanField(2), MLP(5, ()))
        >>> run = fit(LinearGaussian(5, 2), guide, x, epochs=2, quiet=True)
        >>> len(run.history)
        2
    """
    if recipe is not None:
        check_kind("recipe", recipe, Recipe, "a Recipe, or None")
    recipe = changed(recipe or Recipe(), changes)
    check_arguments(model, guide, folder, resume=resume, quiet=quiet)
    data = data_for(model, guide, data, valid, values)
    model, guide = (
        with_context(program, getattr(data, "context", None)) for program in (model, guide)
    )
    where = resolve_device(device)
    if resume and folder is None:
        raise ValueError("resume: got no folder, expected the folder of the run to go on with")

    with ExitStack() as stack:
        path = None if folder is None else stack.enter_context(claim(Path(folder), resume))
        if resume and path is not None:
            recipe = as_begun(recipe, path)

        stack.enter_context(own_noise(where, recipe.seed))
        data = data.to(where)
        # of several processes the first one writes
        own, resolved = (
            path if is_first() else None,
            recipe.for_data(len(data.train), is_enough(data)),
        )
        job = prepare(model, guide, data, resolved, own)
        # of a schedule that is resumed, not new
        warnings.filterwarnings("ignore", message="Detected call of .lr_scheduler")
        position = _begin(job, path if resume else None)

        interrupted = stack.enter_context(deferred_interrupt())
        stack.enter_context(pyro.validation_enabled(False))
        reporter, writer = _reporting(stack, job, position, quiet or not is_first())
        with _refusable(job, position):
            _loop(job, position, reporter, writer, interrupted)
        return end_run(job, position, data, reporter)


def _begin(job: Job, folder: Path | None) -> Position:
    """Where the run stands: at the checkpoint of a folder, or at the start, which becomes the first
    one.
    """
    meet(job)
    if folder is None:
        position = Position()
        job.run = "" if job.folder is None else new_identity(job.folder)
        keep(job, position)  # from here on there is something to go on from
        return position

    position = restore(job, folder)
    wait()  # until all have read it
    if job.folder is not None and position.epoch < job.recipe.epochs:
        remove(job.folder / WEIGHTS)  # of an earlier end
    return position


def _reporting(stack: ExitStack, job: Job, at: Position, quiet: bool) -> tuple[Reporter, Any]:
    """The progress bar and TensorBoard's writer, both closed with the stack."""
    writer = tensorboard_writer(job.folder)
    if writer is not None:
        stack.callback(writer.close)
    steps = job.steps_per_epoch
    done = at.epoch * steps + at.step
    reporter = stack.enter_context(Reporter(job.recipe.epochs, steps, done, quiet))
    splits = [split for split in (job.train, job.valid) if split is not None]
    for split in splits:
        if split.missing:
            told = (
                f"{share(split.missing)} of the values of the {split.name} data are missing (NaN)"
            )
            reporter.say(f"{told}: the others are what is modelled")
    if isinstance(job.probe, str):
        reporter.say(f"the latent units are not followed: {job.probe}")
    return reporter, writer


@contextmanager
def _refusable(job: Job, at: Position) -> Iterator[None]:
    """Where a run is refused at its first step there is nothing to go on with; where a process is
    lost there is.
    """
    try:
        yield
    except LostProcess as error:
        if job.folder is None:
            raise
        raise LostProcess(f"{error}; the last checkpoint is in {job.folder}") from error
    except ValueError:
        if job.folder is not None and at.epoch == at.step == 0:
            remove(job.folder / CHECKPOINT)
        raise


def _loop(
    job: Job, at: Position, reporter: Reporter, writer: Any, interrupted: threading.Event
) -> None:
    """Run epochs until the recipe is done, early stopping says so, or Ctrl-C was pressed."""
    while at.epoch < job.recipe.epochs:
        if job.recipe.patience is not None and at.stale >= job.recipe.patience:
            break

        _epoch(job, at, reporter, interrupted)
        units = close_epoch(job, at)
        row = at.history[-1]
        loss_is_elbo = job.loss_is_elbo and at.epoch - 1 >= job.recipe.warmup_epochs
        reporter.epoch(row, loss_is_elbo)
        if writer is not None:
            write_scalars(writer, row, units, at.epoch)

        look_for_collapse(job, at, units, last=False)
        keep(job, at)
        if interrupted.is_set():
            raise KeyboardInterrupt


def _epoch(job: Job, at: Position, reporter: Reporter, interrupted: threading.Event) -> None:
    """The steps of one epoch, from the step that the position names."""
    if at.order is None:
        at.order = job.feed.order(job.noise)

    batches = at.order.split(job.recipe.batch_size)
    started = saved = time.monotonic()
    earlier = at.seconds

    given = job.feed.batches(batches[at.step :])
    while at.step < len(batches):
        index, rows = batches[at.step], next(given)
        if len(index) in job.to_compile:
            job.to_compile.remove(len(index))
            reporter.compiling()
        job.beta.fill_(beta_at(job, at, at.step))
        loss = job.step(rows, job.train.bits(len(index), job.noise), own_share(len(index)))
        _agree_to_stop(interrupted)
        job.losses[at.step] = job.of_minibatch(loss, len(index))
        at.step += 1

        pausing = interrupted.is_set() or time.monotonic() - saved > _SAVE_EVERY
        looking = not loss.is_cuda or at.step & (at.step - 1) == 0  # on a GPU, reading is waiting
        if pausing or (looking and not math.isfinite(loss)):
            check_losses(job, at)

        at.seconds = earlier + time.monotonic() - started
        reporter.step(at.epoch)
        if pausing:
            saved = time.monotonic()
            check_parameters(job, at)
            keep(job, at)
        if interrupted.is_set():
            raise KeyboardInterrupt


def _agree_to_stop(interrupted: threading.Event) -> None:
    """Stop after the same step in all processes, where Ctrl-C was pressed in one."""
    if count() > 1 and summed_(torch.tensor([float(interrupted.is_set())])).item():
        interrupted.set()
