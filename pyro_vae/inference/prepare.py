"""Before the first step of a run: the data as a set, everything checked that can be, and what a
step needs built.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyro
import torch
from pyro.infer import ELBO, TraceEnum_ELBO
from torch import Tensor, nn

from pyro_vae.arguments import check_choice, check_flag, refuse
from pyro_vae.data import Dataset, Split, as_dataset
from pyro_vae.data.arrays import Values
from pyro_vae.data.binarise import check_rule, draw_seed, rule_for
from pyro_vae.inference.feed import Feed
from pyro_vae.inference.job import Job, read_checkpoint
from pyro_vae.inference.optim import JointOptim, make_schedule
from pyro_vae.inference.outcome import MIN_VALID, probe_of
from pyro_vae.inference.recipe import ELBOS, Recipe, ResolvedRecipe
from pyro_vae.inference.settings import settings_of
from pyro_vae.inference.steps import make_step, sizes_to_compile
from pyro_vae.inference.together import Dealing, check_sum
from pyro_vae.inference.trainable import check_trainable, check_valid
from pyro_vae.objectives import tempered, without_rate
from pyro_vae.processes import count, is_first
from pyro_vae.programs.calls import called
from pyro_vae.programs.evaluation import in_eval_mode, isolated_noise
from pyro_vae.programs.given import takes_context
from pyro_vae.programs.inputs import check_data
from pyro_vae.programs.missing import check_columns, observing
from pyro_vae.programs.protocols import HasRows, HasRules, Starts, TakesGuide, TakesModel, offers
from pyro_vae.programs.traces import Program, without_choices


def check_arguments(
    model: Program, guide: Program, folder: str | Path | None, *, resume: bool, quiet: bool
) -> None:
    """Refuse flags, programs and a folder that are none."""
    for name, flag in (("resume", resume), ("quiet", quiet)):
        check_flag(name, flag)
    for name, program in (("model", model), ("guide", guide)):
        if not takes_context(program):  # else the data's is bound to it first
            called(program, name)
    if folder is not None and (not isinstance(folder, str | Path) or not str(folder)):
        refuse("folder", folder, "a path, or None")


@contextmanager
def own_noise(device: torch.device, seed: int) -> Iterator[None]:
    """The guide's noise by the recipe's seed, the caller's random state kept; and no warnings of
    what a training knows better.
    """
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(cuda), warnings.catch_warnings():
        # Pyro's NaN warnings: the loop raises instead
        warnings.filterwarnings("ignore", message="Encountered")
        if not is_first():
            warnings.simplefilter("ignore")
        # a frozen net is meant to be frozen
        warnings.filterwarnings("ignore", message=".*requires_grad=False")
        torch.manual_seed(draw_seed(seed, "guide"))
        yield


def resolve_device(device: str) -> torch.device:
    """The torch device for "auto", "cpu" or "cuda"; a ValueError where there is none such."""
    check_choice("device", device, ("auto", "cpu", "cuda"))
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "device: got 'cuda', but torch sees no CUDA device here: use device='auto' or 'cpu'"
        )
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def is_enough(data: Dataset) -> bool:
    """Whether there are validation rows enough to choose an epoch by."""
    return data.valid is not None and len(data.valid) >= MIN_VALID


def data_for(
    model: Program, guide: Program, data: Any, valid: int | None, values: Values | None = None
) -> Dataset:
    """The data as a set, under a rule that makes data for the model, in the layout it expects."""
    rules = model.rules if offers(model, HasRules) else ()
    if isinstance(data, Dataset):
        check_rule(rules, data.binarise, type(getattr(model, "likelihood", model)).__name__)
        return as_dataset(data, valid)
    if valid is None and offers(guide, HasRows):
        valid = 0

    params = (p.dtype for m in (model, guide) if isinstance(m, nn.Module) for p in m.parameters())
    keeps_double = isinstance(data, Tensor) and data.dtype == torch.float64
    plain = torch.float64 if keeps_double else torch.get_default_dtype()
    shape = getattr(model, "shape", None)
    found = as_dataset(data, valid, values=values, dtype=next(params, plain), shape=shape)

    if not rules and not found.train.is_real and not found.is_binary:
        raise ValueError(
            f"data: got pixels for {type(model).__name__}, which does not say how it wants them:"
            " pass x.float() for the values as they are, or a Dataset with a rule"
            " (pyro_vae.load(..., binarise=))"
        )

    rule = rule_for(rules, found.train.sample.pixels)
    return found if rule == found.binarise else found.under(rule)


def as_begun(recipe: Recipe, folder: Path) -> Recipe:
    """What the recipe leaves to the data, as the run in the folder was begun with it."""
    begun = read_checkpoint(folder)["same"]
    left = {}
    for name in ("batch_size", "warmup_epochs", "keep"):
        if getattr(recipe, name) is None and name in begun:
            left[name] = begun[name]
    return replace(recipe, **left)


def prepare(
    model: Program, guide: Program, data: Dataset, recipe: ResolvedRecipe, folder: Path | None
) -> Job:
    """Check everything that can be checked before the first step, and build what a step needs."""
    check_valid(guide, data, recipe)
    device = data.train.device
    _introduce(model, guide, data)

    # the checks must leave no trace in the nets' statistics
    with in_eval_mode(model, guide) as modules:
        for module in modules:
            module.to(device)
        _start(model, guide, data)
        held = None if data.valid is None else data.valid.sample.x
        trained = observing(model, guide, data.train.sample.x, held)
        scaled, params, shared = check_trainable(*trained, data, recipe)
        probe = probe_of(model, guide, data)
        beta = torch.tensor(recipe.beta, device=device)
        taken = _summed(*trained, data, recipe)
        programs = _weighted(taken, recipe, beta), _weighted(trained[1], recipe, beta)
        settings = settings_of(recipe.loss)
        _rehearse(recipe.loss, *programs, data.train.sample)

    for program in (model, guide):
        if isinstance(program, nn.Module):
            program.train()  # a function's nets train in the mode that they were given in
    if not params:
        raise ValueError(
            "fit: neither the model nor the guide has a parameter to train:"
            " register nets by pyro.module"
        )

    subsamples = scaled.plate_size is not None
    dealing = _dealing(recipe, programs, params, data.train.sample, subsamples)
    optim = JointOptim(recipe.optimizer, params.values(), recipe.clip_norm)
    schedule = make_schedule(recipe.schedule, optim.optimizer)
    elbo = type(recipe.loss) in ELBOS and not scaled.other
    noise_seed = draw_seed(recipe.seed, "order and binarisation")
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
        schedule=schedule,
        settings={"loss": settings, "schedule": settings_of(schedule)},
        plate_size=scaled.plate_size,
        shared=shared,
        losses=torch.zeros(math.ceil(len(data.train) / recipe.batch_size), device=device),
        step=make_step(*programs, optim, recipe, data.train, dealing),
        feed=Feed(data.train),
        noise=torch.Generator(device=device).manual_seed(noise_seed),
        probe=probe,
        to_compile=sizes_to_compile(len(data.train), recipe),
    )


def _dealing(
    recipe: ResolvedRecipe,
    programs: tuple[Program, Program],
    params: dict[str, Tensor],
    few: Split,
    subsamples: bool,
) -> Dealing | None:
    """How several processes share a minibatch; None of one alone."""
    if count() == 1:
        return None
    draws = check_sum(recipe.loss, *programs, params.values(), few, subsamples)
    return Dealing(draws, subsamples)


def _introduce(model: Program, guide: Program, data: Dataset) -> None:
    """Tell model and guide of each other, where they ask."""
    if offers(model, TakesGuide):
        model.take_guide(guide)
    if offers(guide, TakesModel):
        few = data.train.sample
        guide.take_model(model, few.x[:2], few.numbers()[:2])


def _summed(model: Program, guide: Program, data: Dataset, recipe: ResolvedRecipe) -> Program:
    """The model as a step runs it: its choices that are marked, and not the guide's, summed out,
    unless the loss does that itself.
    """
    if isinstance(recipe.loss, TraceEnum_ELBO):
        return model
    some = data.train.sample
    return without_choices(model, guide, some.x[:8], some.numbers()[:8])


def _weighted(program: Program, recipe: ResolvedRecipe, beta: Tensor) -> Program:
    """The program as a step runs it, its latents weighed by beta, which a warm-up changes."""
    if recipe.beta == 0 and type(recipe.loss) in ELBOS:
        return without_rate(program)
    return program if recipe.beta == 1 and recipe.warmup_epochs == 0 else tempered(program, beta)


def _start(model: Program, guide: Program, data: Dataset) -> None:
    """Let the programs take the units of the data, which the model must be able to score."""
    train = data.train.sample
    try:
        check_data(model, train.x)
        check_columns("x", train.x)
    except ValueError as error:
        raise ValueError(f"data: {error}") from error
    for program in (model, guide):
        if offers(program, Starts):
            program.start(train.x)


def _rehearse(loss: ELBO, model: Program, guide: Program, train: Split) -> None:
    """Evaluate a loss that has still to guess how deep the plates are nested, which draws noise,
    outside of all steps.

    The noise of a step follows from the seed and the step alone then, in a run that is begun and in
    one that goes on.
    """
    never_guesses = type(loss) in ELBOS and not loss.vectorize_particles
    if never_guesses or getattr(loss, "max_plate_nesting", 0) != math.inf:
        return

    p, q = called(model, "model"), called(guide, "guide")
    given = train.x[:8], train.numbers()[:8]
    with isolated_noise(train.device), torch.no_grad(), pyro.validation_enabled(False):
        try:
            loss.loss(p, q, *given)  # type: ignore[attr-defined]
        except NotImplementedError:  # Pyro's TraceTailAdaptive_ELBO has gradients alone
            loss._guess_max_plate_nesting(p, q, given, {})
