"""Stochastic variational inference on a model and a guide, one epoch after another.

    minimise over all parameters   sum_n  E_q(z | x_n) [ log q(z | x_n) - log p(x_n, z) ]

The step is that of `pyro.infer.SVI`, by stock Pyro or by the compiled engine (`compiled.py`), and the loop adds nothing to
its mathematics: data in memory, indexed on the device; one torch optimizer; a validation ELBO each epoch; checkpoints from
which a killed run goes on bit for bit (on a CPU). All noise (the data order and the binarisation in one stream, the guide's
samples in another) comes from generators seeded by the recipe whose states are in the checkpoint; the caller's random state
is left as it was.
"""

from __future__ import annotations

import math
import threading
import time
import warnings
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyro
import torch
from pyro.infer import Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from pyro_vae.data import Dataset, Split
from pyro_vae.data.binarise import draw_seed
from pyro_vae.evidence.checks import check_data
from pyro_vae.evidence.methods import log_evidence
from pyro_vae.inference.engine import make_step
from pyro_vae.inference.failure import check_finite, check_losses, deferred_interrupt
from pyro_vae.inference.job import Job, Position, finish, keep, restore, weights
from pyro_vae.inference.optim import JointOptim
from pyro_vae.inference.recipe import Recipe
from pyro_vae.inference.record import Reporter, Row, tensorboard_writer
from pyro_vae.objectives import tempered, warmup
from pyro_vae.traces import Program, check_programs, is_scaled, trainable_parameters

_SAVE_EVERY = 300.0  # seconds between checkpoints inside a long epoch


@dataclass
class Run:
    """A finished run: the trained programs and a row of metrics per epoch."""

    model: Program
    guide: Program
    history: list[Row]
    folder: Path | None


def fit(
    model: Program,
    guide: Program,
    data: Dataset | Tensor,
    recipe: Recipe | None = None,
    *,
    folder: str | Path | None = None,
    device: str = "auto",
    resume: bool = False,
    quiet: bool = False,
    **changes: Any,
) -> Run:
    """Train a model and a guide by SVI, in place.

    Args:
        model, guide: Pyro programs `program(x, index)` whose nets are registered by `pyro.module`.
        data: a dataset, or a tensor `(N, *shape)` of training data without a validation set.
        recipe: how to train; `changes` replace single fields of it, `fit(model, guide, data, epochs=20)`.
        folder: keeps metrics.csv, checkpoint.pt and, at the end, weights.pt; None keeps nothing.
        device: "auto" (CUDA where there is a GPU), "cpu" or "cuda".
        resume: go on from the folder's checkpoint; the other arguments must be the same (epochs may grow).
        quiet: no progress on stderr.

    Returns:
        The run, with its history: per epoch the train loss (minus the ELBO where beta is 1), validation ELBO, rate and
        distortion, learning rate and beta; nats per datum.

    Raises:
        ValueError: programs, data or settings that cannot be trained; found before the first step.
        NonFiniteLoss: the loss became NaN or infinite; the last good checkpoint stays.
        KeyboardInterrupt: Ctrl-C, after the step in progress and a checkpoint.

    Example:
        >>> from pyro_vae import Amortized, LinearGaussian, MeanField, MLP
        >>> x = torch.randn(64, 5)
        >>> run = fit(LinearGaussian(5, 2), Amortized(MeanField(2), MLP(5, ())), x, epochs=2, quiet=True)
        >>> len(run.history)
        2
    """
    recipe = replace(recipe or Recipe(), **changes)
    data = _as_dataset(data)
    where = resolve_device(device)
    path = _open_folder(folder, resume)
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng([where] if where.type == "cuda" else []))
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", message="Encountered")  # Pyro's NaN warnings: the loop raises instead
        warnings.filterwarnings("ignore", message=".*requires_grad=False")  # a frozen net is meant to be frozen
        torch.manual_seed(draw_seed(recipe.seed, "guide"))
        job = _prepare(model, guide, data.to(where), recipe, path)
        warnings.filterwarnings("ignore", message="Detected call of .lr_scheduler")  # one that is resumed, not new
        position = restore(job) if resume else Position()
        if resume and path is not None and position.epoch < recipe.epochs:
            (path / "weights.pt").unlink(missing_ok=True)  # of an earlier end
        if not resume:
            keep(job, position)  # from here on there is something to go on from
        interrupted = stack.enter_context(deferred_interrupt())
        stack.enter_context(pyro.validation_enabled(False))
        writer = tensorboard_writer(path)
        if writer is not None:
            stack.callback(writer.close)
        done = position.epoch * job.steps_per_epoch + position.step
        reporter = stack.enter_context(Reporter(recipe.epochs, job.steps_per_epoch, done, quiet))
        try:
            _loop(job, position, reporter, writer, interrupted)
        except ValueError:
            if path is not None and position.epoch == position.step == 0:
                # refused at the first step: there is no run to go on with
                (path / "checkpoint.pt").unlink(missing_ok=True)
            raise
    finish(job, position)
    return Run(model, guide, position.history, path)


def resolve_device(device: str) -> torch.device:
    """The torch device for "auto", "cpu" or "cuda"; a ValueError where there is none such."""
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device: got {device!r}, expected 'auto', 'cpu' or 'cuda'")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: got 'cuda', but torch sees no CUDA device here: use device='auto' or 'cpu'")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def _as_dataset(data: Dataset | Tensor) -> Dataset:
    if isinstance(data, Dataset):
        return data
    if not isinstance(data, Tensor):
        raise TypeError(f"data: got {type(data).__name__}, expected a Dataset (pyro_vae.load) or a tensor (N, *shape)")
    if data.dtype != torch.float32:
        raise ValueError(
            f"data: got a tensor of {data.dtype}, expected float32: data.float() for counts and real values;"
            " Split('train', pixels, 'dynamic') in a Dataset for uint8 pixels"
        )
    split = Split("train", data, "none")
    return Dataset("tensor", split, None, split)


def _open_folder(folder: str | Path | None, resume: bool) -> Path | None:
    if folder is None:
        if resume:
            raise ValueError("resume: got no folder, expected the folder of the run to go on with")
        return None
    path = Path(folder)
    if not resume and any((path / name).exists() for name in ("checkpoint.pt", "weights.pt")):
        raise ValueError(f"folder: {path} holds a run already: resume it, or choose another folder")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"folder: cannot make {path} ({error.strerror}): choose another folder") from error
    return path


def _prepare(model: Program, guide: Program, data: Dataset, recipe: Recipe, folder: Path | None) -> Job:
    """Check everything that can be checked before the first step, and build what a step needs."""
    if recipe.patience is not None and data.valid is None:
        raise ValueError("patience: early stopping needs a validation split, but the data has none")
    device = data.train.pixels.device
    modules = [p for p in (model, guide) if isinstance(p, nn.Module)]
    if data.valid is not None and hasattr(guide, "num_rows"):
        raise ValueError(
            f"data: {type(guide).__name__} has parameters for {guide.num_rows} data and knows nothing of validation data:"
            " load the data with valid=0"
        )
    for module in modules:
        module.to(device).eval()  # the checks must leave no trace in the nets' statistics
    check_data(model, data.train.x)
    index = torch.arange(min(8, len(data.train)), device=device)
    check_programs(model, guide, data.train.x[index], index)
    scaled = is_scaled(model, guide, data.train.x[index], index)
    params = trainable_parameters(model, guide, data.train.x[index], index)
    for module in modules:
        module.train()
    if not params:
        raise ValueError("fit: neither the model nor the guide has a parameter to train: register nets by pyro.module")
    optim = JointOptim(recipe.optimizer, params.values(), recipe.clip_norm)
    beta = torch.tensor(recipe.beta, device=device)
    plain = recipe.beta == 1 and recipe.warmup_epochs == 0
    elbo = type(recipe.loss) in (Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO) and not scaled
    programs = (model, guide) if plain else (tempered(model, beta), tempered(guide, beta))
    return Job(
        model=model,
        guide=guide,
        train=data.train,
        valid=data.valid,
        recipe=recipe,
        folder=folder,
        params=params,
        loss_is_elbo=elbo and recipe.beta == 1,
        beta=beta,
        optim=optim,
        schedule=recipe.schedule(optim.optimizer) if recipe.schedule else None,
        losses=torch.zeros(math.ceil(len(data.train) / recipe.batch_size), device=device),
        step=make_step(*programs, optim, recipe, data.train),
        noise=torch.Generator(device=device).manual_seed(draw_seed(recipe.seed, "order and binarisation")),
    )


def _loop(job: Job, at: Position, reporter: Reporter, writer: Any, interrupted: threading.Event) -> None:
    """Run epochs until the recipe is done, early stopping says so, or Ctrl-C was pressed."""
    while at.epoch < job.recipe.epochs:
        if job.recipe.patience is not None and at.stale >= job.recipe.patience:
            break
        _epoch(job, at, reporter, interrupted)
        _close_epoch(job, at)
        reporter.epoch(at.history[-1], job.loss_is_elbo and at.epoch - 1 >= job.recipe.warmup_epochs)
        if writer is not None:
            for name, value in at.history[-1].items():
                writer.add_scalar(name, value, at.epoch)
        keep(job, at)
        if interrupted.is_set():
            raise KeyboardInterrupt


def _epoch(job: Job, at: Position, reporter: Reporter, interrupted: threading.Event) -> None:
    """The steps of one epoch, from the step that the position names."""
    if at.order is None:
        at.order = torch.randperm(len(job.train), generator=job.noise, device=job.noise.device)
    batches = at.order.split(job.recipe.batch_size)
    started = saved = time.monotonic()
    earlier = at.seconds
    while at.step < len(batches):
        index = batches[at.step]
        job.beta.fill_(warmup(job.recipe.beta, at.epoch + at.step / len(batches), job.recipe.warmup_epochs))
        loss = job.step(index, job.train.bits(len(index), job.noise))
        job.losses[at.step] = loss
        at.step += 1
        pausing = interrupted.is_set() or time.monotonic() - saved > _SAVE_EVERY
        looking = not loss.is_cuda or at.step & (at.step - 1) == 0  # on a GPU, reading is waiting
        if pausing or (looking and not math.isfinite(loss)):
            check_losses(job, at)
        at.seconds = earlier + time.monotonic() - started
        reporter.step(at.epoch)
        if pausing:
            saved = time.monotonic()
            check_finite(job, at)
            keep(job, at)
        if interrupted.is_set():
            raise KeyboardInterrupt


def _close_epoch(job: Job, at: Position) -> None:
    """Score the validation data, add the epoch's row, step the schedule, and note the best parameters."""
    check_losses(job, at)
    check_finite(job, at)
    row: Row = {
        "epoch": at.epoch + 1,
        "train_loss": job.losses.double().sum().item() / len(job.train),
        "valid_elbo": math.nan,
        "valid_rate": math.nan,
        "valid_distortion": math.nan,
        "learning_rate": job.optim.optimizer.param_groups[0]["lr"],
        "beta": job.beta.item(),
        "seconds": at.seconds,
        "data_per_second": len(job.train) * (at.epoch + 1) / max(at.seconds, 1e-9),
    }
    if job.valid is not None:
        score = log_evidence(job.model, job.guide, job.valid.x, num_particles=1, seed=job.recipe.seed)
        row |= {f"valid_{name}": getattr(score, name).mean().item() for name in ("elbo", "rate", "distortion")}
    at.history.append(row)
    if isinstance(job.schedule, ReduceLROnPlateau):
        job.schedule.step(row["train_loss"] if job.valid is None else -row["valid_elbo"])
    elif job.schedule is not None:
        job.schedule.step()
    if job.recipe.patience is not None:
        at.stale += 1
        if row["valid_elbo"] > at.best:
            at.best, at.stale, at.best_weights = row["valid_elbo"], 0, weights(job.model, job.guide, job.params)
    at.epoch, at.step, at.order = at.epoch + 1, 0, None
