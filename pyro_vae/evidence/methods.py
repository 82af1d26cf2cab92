"""log p(x) by any method, under one name."""

from __future__ import annotations

import time
from dataclasses import fields, replace
from typing import Any, Literal, overload

import torch
from torch import Tensor

from pyro_vae.arguments import check_choice, check_positive
from pyro_vae.evidence.annealed import by_annealing
from pyro_vae.evidence.best import Best, best_evidence
from pyro_vae.evidence.estimate import Estimate
from pyro_vae.evidence.importance import Evidence, by_importance
from pyro_vae.evidence.quadrature import by_closed_form, by_quadrature
from pyro_vae.programs.calls import called
from pyro_vae.programs.inputs import caveat_of, check_budget, check_inputs
from pyro_vae.programs.parts import own_numbers, takes_parts
from pyro_vae.programs.traces import Program

Method = Literal["importance", "annealed", "quadrature", "exact", "best"]

_MORE = 4  # times as many particles for data whose error is too large
_MOST = 10_000_000


@overload
def log_evidence(
    model: Program,
    guide: Program,
    x: Tensor,
    index: Tensor | None = None,
    *,
    method: Literal["importance"] = ...,
    **options: Any,
) -> Evidence: ...


@overload
def log_evidence(
    model: Program,
    guide: Program,
    x: Tensor,
    index: Tensor | None = None,
    *,
    method: Literal["best"],
    **options: Any,
) -> Best: ...


@overload
def log_evidence(
    model: Program,
    guide: Program,
    x: Tensor,
    index: Tensor | None = None,
    *,
    method: Method,
    **options: Any,
) -> Estimate: ...


def log_evidence(
    model: Program,
    guide: Program,
    x: Tensor,
    index: Tensor | None = None,
    *,
    method: Method = "importance",
    **options: Any,
) -> Estimate:
    """Estimate log p(x) of each datum.

    Args:
        model, guide: Pyro programs `program(x, index)`.
        x: data `(N, *shape)`, binarised already where the model is of binary data.
        index: what the programs get as `index`, the number of each datum `(N,)`, such as
            `data.test.numbers()` with `data.test.x`. 0..N-1 unless given (a table's own `numbers`,
            of a `Local` guide that has some): right of programs that do not read it, and of data
            that are counted so; a model that looks up covariates by number must be told.
        method: "importance", from the guide (options of `by_importance`; with `target_error`, in
            nats, or a `budget`, in seconds, data whose error is larger, or not vouched for, get
            more and more particles); "annealed", from the guide to the posterior (options of
            `by_annealing`, and `start="prior"`); "quadrature", for one or two latents; "exact", for
            models with a method `log_px`; "best", what serves best, with a verdict.
        options: of the method.

    Returns:
        An `Estimate`: per-datum values with errors and intervals; an `Evidence` of method
        "importance", with ESS and k-hat.

    Raises:
        ValueError: an argument out of range, data that the model cannot score, or programs that do
            not match.

    Example:
        >>> from pyro_vae import ExactGuide, LinearGaussian
        >>> model, x = LinearGaussian(5, 2), torch.randn(3, 5)
        >>> log_evidence(model, ExactGuide(model), x, num_particles=10).log_px.shape
        torch.Size([3])
        >>> log_evidence(model, ExactGuide(model), x, method="best").verdict
        "log p(x) is exact, by the model's own closed form"
    """
    check_choice("method", method, Method)
    index = own_numbers(x, guide) if index is None else index
    found, caveat = _by_method(model, guide, x, index, method, options), caveat_of(model)
    if isinstance(found, Best) and caveat:
        return replace(
            found,
            caveat=caveat,
            chosen=replace(found.chosen, caveat=caveat),
            verdict=f"{found.verdict}; {caveat}",
        )
    return replace(found, caveat=caveat) if caveat else found


def _by_method(
    model: Program,
    guide: Program,
    x: Tensor,
    index: Tensor | None,
    method: Method,
    options: dict[str, Any],
) -> Estimate:
    """What the method of that name says."""
    if method in ("importance", "best") or (
        method == "annealed" and options.get("start", "guide") == "guide"
    ):
        called(guide, "guide")
    if method == "importance":
        if "target_error" in options or "budget" in options:
            return _refined(model, guide, x, index, **options)
        return by_importance(model, guide, x, index, **options)
    if method == "annealed":
        start = options.pop("start", "guide")
        check_choice("start", start, Literal["guide", "prior"])
        return by_annealing(model, x, index, guide=guide if start == "guide" else None, **options)
    if method == "quadrature":
        return by_quadrature(model, x, index, **options)
    if method == "exact":
        return by_closed_form(model, x, index, **options)
    return best_evidence(model, guide, x, index, **options)


def _refined(
    model: Program,
    guide: Program,
    x: Tensor,
    index: Tensor | None,
    *,
    target_error: float = 0.01,
    budget: float | None = None,
    num_particles: int = 1000,
    seed: int = 0,
    **options: Any,
) -> Evidence:
    """Importance sampling with four times the particles, drawn afresh, for data whose error is
    above the target.

    An error that is not vouched for is above every target. Of data whose weights are `blind` no
    number of particles is asked for: a guide that misses something needs another guide, or a
    `defensive` share, before it needs more draws. It stops when no datum is left, when the next
    round would not end within the budget by the last one's pace, or at ten million particles.
    """
    check_positive("target_error", target_error)
    check_budget(budget)
    started = time.monotonic()
    x, index = check_inputs(model, guide, x, index)
    found = by_importance(model, guide, x, index, num_particles=num_particles, seed=seed, **options)
    options.pop("progress", None)  # it has counted all data once
    pace = found.seconds / (len(x) * num_particles)
    particles = torch.full((len(x),), float(num_particles))
    for again in range(1, 100):
        enough = (found.log_px_error <= target_error) & (found.reliable | found.blind)
        todo = (~enough).nonzero().flatten().to(x.device)
        if 0 < len(todo) < len(x) and not takes_parts(guide, x, index):
            todo = torch.arange(len(x), device=x.device)
        num_particles *= _MORE
        costs = pace * len(todo) * num_particles
        if (
            not len(todo)
            or num_particles > _MOST
            or (budget and time.monotonic() - started + costs > budget)
        ):
            break
        part = by_importance(
            model,
            guide,
            x[todo],
            index[todo],
            num_particles=num_particles,
            seed=seed + again,
            **options,
        )
        pace = part.seconds / (len(todo) * num_particles)
        particles[todo.cpu()] += num_particles
        blind = found.blind
        found = _replaced(found, part, todo.cpu())
        found = replace(found, blind=found.blind | blind)
    return replace(found, evaluations=particles.mean().item(), seconds=time.monotonic() - started)


def _replaced(whole: Evidence, part: Evidence, rows: Tensor) -> Evidence:
    """An estimate with some of its data taken from another; its S is the smaller one."""
    values = {f.name: getattr(whole, f.name) for f in fields(whole)}
    merged: dict[str, Any] = {
        name: value.index_copy(0, rows, getattr(part, name))
        for name, value in values.items()
        if isinstance(value, Tensor)
    }
    return replace(whole, **merged)
