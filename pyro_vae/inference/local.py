"""Classical variational inference on a frozen model: each datum's own parameters, by optimisation.

A guide that is a table, one row of a family's parameters per datum, is optimised until each datum
has converged (`converge`). Any other guide, and any other loss, takes a fixed number of SVI steps,
on all data in each.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import pyro
import torch
from pyro.infer import ELBO, SVI, Trace_ELBO, TraceEnum_ELBO
from torch import Tensor, nn

from pyro_vae.arguments import (
    check_integer,
    check_kind,
    check_positive,
    check_progress,
    check_seed,
)
from pyro_vae.graphs import Engine, Guard, check_engine, is_worth_it
from pyro_vae.inference.compiled_svi import CompiledSVI
from pyro_vae.inference.converge import Given, Rows, converge, elbo
from pyro_vae.inference.failure import NonFiniteLoss
from pyro_vae.inference.optim import JointOptim
from pyro_vae.inference.optimum import Optimum
from pyro_vae.programs.calls import called
from pyro_vae.programs.checks import check_programs, check_reach
from pyro_vae.programs.evaluation import in_eval_mode, modules_of
from pyro_vae.programs.inputs import check_inputs
from pyro_vae.programs.missing import check_missing, observing
from pyro_vae.programs.parameters import guide_parameters, trainable_parameters, without_parameters
from pyro_vae.programs.parts import default_index, some
from pyro_vae.programs.protocols import HasTable, offers
from pyro_vae.programs.traces import Program, without_choices
from pyro_vae.progress import Progress, over, shares

_USUAL = 1000  # steps to convergence, about; of a guide that is no table, where no number is given
_SPREAD = 1.0  # standard deviation of what is added to the parameters at a restart

GuideT = TypeVar("GuideT", bound=nn.Module)


def fit_local(
    model: Program,
    guide: GuideT,
    x: Tensor,
    index: Tensor | None = None,
    *,
    num_steps: int | None = None,
    learning_rate: float = 0.1,
    num_particles: int = 1,
    restarts: int = 0,
    earlier: Optimum[Any] | None = None,
    loss: ELBO | None = None,
    seed: int = 0,
    engine: Engine = "auto",
    progress: Progress | None = None,
) -> Optimum[GuideT]:
    """Optimise a guide's per-datum parameters for data `x` in place; the model is frozen and in
    eval mode.

    Args:
        model: Pyro program; its parameters do not change.
        guide: such as `Local(MeanField(50), len(x))`, or `Local.started_at(amortized, x)` for a
            warm start.
        x: data `(N, *shape)`, row n of the guide's table for datum n.
        index: what the programs get as `index`, the number of each datum `(N,)`; the `numbers` of
            the guide's table, 0..N-1 unless given.
        num_steps: steps of Adam, each on all of x, the rate falling to 0 by a cosine. None: until
            each datum has converged, at most 10,000; 1000 where the guide is not a table of rows,
            or where a loss is given.
        learning_rate: at the first step.
        num_particles: draws of each datum in a step, where each goes on to convergence.
        restarts: further runs to convergence from rows with noise added; each datum keeps its best
            run by a fresh estimate.
        earlier: the optimum that the guide starts from (`Local.started_at(earlier.guide, x)`, or
            its guide again): no datum is left with less than it had, by an estimate, and what that
            optimum took is counted too.
        loss: a Pyro ELBO; Trace_ELBO unless given.
        seed: of the guide's noise.
        engine: "compiled", "pyro" or "auto", as in `Recipe`.
        progress: called with the share of the work that is done, from 0 to 1, as far as it can be
            told before each datum has converged.

    Returns:
        The guide, the steps and evaluations that each datum took, and whether it converged.

    Raises:
        NonFiniteLoss: the parameters became NaN or infinite.
        ValueError: data that the model cannot score, programs that do not match, numbers out of
            range.

    Example:
        >>> from pyro_vae import LinearGaussian, Local, MeanField
        >>> x = torch.randn(4, 5)
        >>> found = fit_local(LinearGaussian(5, 2), Local(MeanField(2), 4), x, num_steps=10)
        >>> found.guide.q(torch.arange(4)).mean.shape
        torch.Size([4, 2])
    """
    rows = num_steps is None and loss is None and offers(guide, HasTable)
    _check_numbers(num_steps, learning_rate, num_particles, restarts, rows)
    _check_earlier(earlier, x, rows)
    _check_how(engine, seed, progress, loss)
    x, index = _checked_data(model, guide, x, index, rows)

    scored, run = observing(model, guide, x)
    check_missing(scored, run, x, index)

    for module in modules_of(guide):
        module.to(x.device)
    number, size, started = num_steps or _USUAL, len(x) * num_particles, time.monotonic()
    noise = torch.random.fork_rng([x.device] if x.is_cuda else [])
    with noise, _frozen(scored, run, x, index) as (fixed, params):
        torch.manual_seed(seed)
        check_programs(fixed, run, x, index)
        check_reach(fixed, run, *some(x, index, 8, guide))

        if rows:
            guard = Guard(engine, number, size)
            numbers = {"learning_rate": learning_rate, "num_particles": num_particles}
            options = numbers | {"guard": guard}
            told = shares(progress, *[1] * (1 + restarts))
            return _to_convergence(fixed, guide, x, index, earlier, told, options)

        optim = JointOptim(partial(torch.optim.Adam, lr=learning_rate, betas=(0.9, 0.99)), params)
        if not isinstance(loss, TraceEnum_ELBO):
            fixed = without_choices(fixed, run, x, index)
        programs = called(fixed, "model"), called(run, "guide"), optim, loss or Trace_ELBO()
        svi: SVI | CompiledSVI = SVI(*programs)
        if is_worth_it(engine, number, size):
            svi = CompiledSVI(*programs, fallback=engine == "auto")
        _take(svi, optim, number, x, index, progress)
        if not all(torch.isfinite(p).all() for p in params):
            raise NonFiniteLoss(
                "the guide's parameters became non-finite: lower the learning"
                f" rate (now {learning_rate:g})"
            )

    taken = torch.full((len(x),), number)
    draws = getattr(loss, "num_particles", 1)
    return Optimum(guide, taken, taken * draws, None, time.monotonic() - started)


def _checked_data(
    model: Program, guide: Program, x: Tensor, index: Tensor | None, rows: bool
) -> tuple[Tensor, Tensor]:
    """The data and their numbers; a ValueError where a table has not a row for each."""
    num_rows = getattr(guide, "num_rows", None)
    if rows and isinstance(x, Tensor) and x.dim() and num_rows != len(x):
        raise ValueError(
            f"guide: got {num_rows} rows of parameters for {len(x)} data, expected a row for each"
        )
    x, index = check_inputs(model, guide, x, index)
    if rows and not torch.equal(index, default_index(x, guide)):
        raise ValueError(
            "index: got other numbers than the guide's, expected those of"
            " all its rows, in their order"
        )
    return x, index


def _take(
    svi: SVI | CompiledSVI,
    optim: JointOptim,
    number: int,
    x: Tensor,
    index: Tensor,
    progress: Progress | None,
) -> None:
    """So many steps on all data, the rate falling to 0 by a cosine."""
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optim.optimizer, number)
    with pyro.validation_enabled(False):
        for _ in over(range(number), number, progress):
            svi.step(x, index)
            schedule.step()


def _check_how(engine: Engine, seed: int, progress: Progress | None, loss: ELBO | None) -> None:
    check_engine(engine)
    check_seed("seed", seed)
    check_progress(progress)
    if loss is not None:
        check_kind("loss", loss, ELBO, "a Pyro ELBO such as pyro.infer.Trace_ELBO(), or None")


def _check_numbers(
    num_steps: int | None, learning_rate: float, num_particles: int, restarts: int, rows: bool
) -> None:
    if num_steps is not None:
        check_integer("num_steps", num_steps, 1)
    check_positive("learning_rate", learning_rate)
    check_integer("num_particles", num_particles, 1)
    check_integer("restarts", restarts, 0)
    if not rows and (num_particles > 1 or restarts):
        raise ValueError(
            "num_particles, restarts: they belong to a run to convergence, which needs a guide with"
            " a table of rows, such as Local, and neither num_steps nor loss"
        )


def _check_earlier(earlier: Optimum[Any] | None, x: Tensor, rows: bool) -> None:
    if earlier is None:
        return
    check_kind("earlier", earlier, Optimum, "an Optimum, as fit_local returns it, or None")
    if not rows:
        raise ValueError(
            "earlier: it belongs to a run to convergence, which needs a guide with a table of rows,"
            " such as Local, and neither num_steps nor loss"
        )
    if len(earlier.num_steps) != len(x):
        raise ValueError(
            f"earlier: got an optimum of {len(earlier.num_steps)} data, expected one of these"
            f" {len(x)}"
        )


def _to_convergence(
    model: Program,
    guide: Any,
    x: Tensor,
    index: Tensor,
    earlier: Optimum[Any] | None,
    told: Sequence[Progress | None],
    options: dict[str, Any],
) -> Optimum[Any]:
    """Put the best of the runs, and of the earlier optimum, into the guide's table, row by row; as
    many runs as `told` has listeners.
    """
    start, given = guide.table.detach().clone(), guide.family.given
    best = converge(model, given, start, x, index, progress=told[0], **options)
    if earlier is not None:
        best = _better(model, given, x, index, best, _as_rows(earlier, start))
    for again in told[1:]:
        moved = start + _SPREAD * torch.randn_like(start)
        other = converge(model, given, moved, x, index, progress=again, **options)
        best = _better(model, given, x, index, best, other)
    with torch.no_grad():
        guide.table.copy_(best.table)
    return Optimum(guide, best.num_steps, best.num_evaluations, best.converged, best.seconds)


def _as_rows(earlier: Optimum[Any], table: Tensor) -> Rows:
    """An optimum as a run of its own, which ended where the guide starts."""
    steps, spent, held = earlier.num_steps, earlier.num_evaluations, earlier.converged
    held = torch.zeros_like(steps, dtype=torch.bool) if held is None else held
    device = table.device
    return Rows(table, steps.to(device), spent.to(device), held.to(device), earlier.seconds)


def _better(model: Program, given: Given, x: Tensor, index: Tensor, one: Rows, other: Rows) -> Rows:
    """For each datum the one with the higher ELBO, by fresh draws that are the same for both."""
    seed = int(torch.randint(2**31, ()))
    theirs, ours = (elbo(model, given, run.table, x, index, seed) for run in (other, one))
    return one.or_where(theirs > ours, other)


@contextmanager
def _frozen(
    model: Program, guide: Program, x: Tensor, index: Tensor
) -> Iterator[tuple[Program, list[Tensor]]]:
    """The model with nothing trained, modules in eval mode, and the guide's own parameters."""
    others: list[Tensor] = []
    with in_eval_mode(model), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*requires_grad=False")
        try:
            own = guide_parameters(guide, x, index)
            if not own:
                raise ValueError(
                    f"guide: {type(guide).__name__} has no parameter to optimise,"
                    " expected one such as Local"
                )
            others += [
                p
                for name, p in trainable_parameters(model, guide, x, index).items()
                if name not in own
            ]
            for p in others:
                p.requires_grad_(False)
            yield without_parameters(model), list(own.values())
        finally:
            for p in others:
                p.requires_grad_(True)
