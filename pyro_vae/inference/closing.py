"""What stands at the end of an epoch, and at the end of a run."""

from __future__ import annotations

import math

from torch.optim.lr_scheduler import ReduceLROnPlateau

from pyro_vae.data import Dataset
from pyro_vae.diagnostics.units import Units
from pyro_vae.inference.failure import check_losses, check_parameters, validation_scores
from pyro_vae.inference.job import Job, Position, finish, weights
from pyro_vae.inference.outcome import Run, follow, look_for_collapse
from pyro_vae.inference.record import Reporter, Row
from pyro_vae.objectives import warmup
from pyro_vae.programs.evaluation import modules_remembered


def end_run(job: Job, at: Position, data: Dataset, reporter: Reporter) -> Run:
    """Write the weights that are kept, and say what became of the run."""
    reporter.end()
    finish(job, at)
    epoch = at.best_epoch or at.epoch
    units = follow(job, at, epoch)
    alarm = look_for_collapse(job, at, units, last=True)
    loss_is_elbo = job.loss_is_elbo and epoch - 1 >= job.recipe.warmup_epochs

    folder = job.folder
    run = Run(job.model, job.guide, at.history, epoch, folder, units, alarm, data, loss_is_elbo)
    if folder is None or not (folder / "config.yaml").is_file():  # else the command line says it
        reporter.say(str(run))
    return run


def beta_at(job: Job, at: Position, step: int) -> float:
    """The KL weight at a step of this epoch."""
    return warmup(job.recipe.beta, at.epoch + step / job.steps_per_epoch, job.recipe.warmup_epochs)


def close_epoch(job: Job, at: Position) -> Units | None:
    """Score the validation data, look at the units, add the epoch's row, step the schedule, note
    the best parameters.
    """
    check_losses(job, at)
    check_parameters(job, at)
    with modules_remembered():
        scores = validation_scores(job, at)
        units = follow(job, at, at.epoch + 1)

    row: Row = {
        "epoch": at.epoch + 1,
        "train_loss": job.losses.double().sum().item() / len(job.train),
        "valid_elbo": math.nan,
        "valid_rate": math.nan,
        "valid_distortion": math.nan,
        "active_units": math.nan,
        "learning_rate": job.optim.optimizer.param_groups[0]["lr"],
        "beta": beta_at(job, at, at.step - 1),
        "seconds": at.seconds,
        "data_per_second": len(job.train) * (at.epoch + 1) / max(at.seconds, 1e-9),
    }
    row |= {f"valid_{name}": value for name, value in scores.items()}

    if units is not None:
        row["active_units"] = units.num_active
    at.history.append(row)

    if isinstance(job.schedule, ReduceLROnPlateau):
        job.schedule.step(row["train_loss"] if job.valid is None else -row["valid_elbo"])
    elif job.schedule is not None:
        job.schedule.step()

    if job.recipe.keep == "best" and at.epoch + 1 > job.recipe.warmup_epochs:
        at.stale += 1
        if row["valid_elbo"] > at.best:
            at.best, at.stale, at.best_epoch = row["valid_elbo"], 0, at.epoch + 1
            at.best_weights = weights(job.model, job.guide, job.params)

    at.epoch, at.step, at.order = at.epoch + 1, 0, None
    return units
