"""Which engine takes the steps of a run: stock `pyro.infer.SVI`, or the same programs compiled.

On a GPU a compiled step is recorded as one CUDA graph (`cuda.py`). Compiling costs seconds, once
for each size of a minibatch: the last, partial one of an epoch has a graph of its own. "auto"
compiles a size that will be used often enough, by a count that follows from the recipe and not from
a clock, so that a run can be repeated bit for bit; the steps of another are stock Pyro's. Under
"compiled" they are those of a graph that runs one operation at a time; where all sizes are rare,
the commonest is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pyro.infer import SVI
from torch import Tensor

from pyro_vae.data import Binarise, Split, Stream
from pyro_vae.data.streams import drawn
from pyro_vae.graphs import is_worth_it
from pyro_vae.inference.compiled_svi import CompiledSVI
from pyro_vae.inference.cuda import Replayed
from pyro_vae.inference.job import Step
from pyro_vae.inference.optim import JointOptim
from pyro_vae.inference.recipe import ResolvedRecipe
from pyro_vae.inference.together import Dealing, OfPart, Reduction, total, weight_of
from pyro_vae.objectives import FreeBits
from pyro_vae.processes import Share
from pyro_vae.programs.calls import called
from pyro_vae.programs.traces import Program


def make_step(
    model: Program,
    guide: Program,
    optim: JointOptim,
    recipe: ResolvedRecipe,
    train: Split | Stream,
    dealing: Dealing | None = None,
) -> Step:
    """The function that takes one step of training on rows of `train`; `dealing` says how several
    processes do.
    """
    if dealing is not None:
        return _dealt_step(model, guide, optim, recipe, train, dealing)

    prepare = _of_stream(train.binarise) if isinstance(train, Stream) else _in_memory(train)
    model, guide = called(model, "model"), called(guide, "guide")
    stock = SVI(model, guide, optim, recipe.loss)
    fallback = recipe.engine != "compiled"
    compiled = CompiledSVI(model, guide, optim, recipe.loss, prepare=prepare, fallback=fallback)
    sizes = sizes_to_compile(len(train), recipe)
    compiled.rows_to_compile = _often(len(train), recipe)

    def granted() -> Any:
        return optim.recordable() if compiled.recordable() else None

    replayed = Replayed(compiled.step, compiled.plain_step, granted, optim.refresh)

    def step(rows: tuple[Tensor, ...], bits: Tensor | None, part: Share | None = None) -> Tensor:
        first = rows[0]
        given = rows if bits is None else (*rows, bits)
        if len(first) in sizes and compiled.reason is None:
            return replayed(*given) if first.is_cuda else compiled.step(*given)
        return torch.as_tensor(stock.step(*prepare(*given)), device=first.device)

    return step


def _dealt_step(
    model: Program,
    guide: Program,
    optim: JointOptim,
    recipe: ResolvedRecipe,
    train: Split | Stream,
    dealing: Dealing,
) -> Step:
    """The same for a process that has some of the rows."""
    inner = _of_stream(train.binarise) if isinstance(train, Stream) else _in_memory(train)

    def prepare(*given: Any) -> Sequence[Any]:
        *tensors, part = given
        return *inner(*tensors), part

    loss = OfPart(recipe.loss, dealing.draws)
    model, guide = called(model, "model"), called(guide, "guide")
    stock = SVI(model, guide, optim, loss)
    fallback, asks = recipe.engine != "compiled", isinstance(recipe.loss, FreeBits)
    compiled = CompiledSVI(model, guide, optim, loss, prepare=prepare, fallback=fallback)
    sizes = set() if asks else sizes_to_compile(len(train), recipe)
    if asks and not fallback:
        raise ValueError(
            "engine: got 'compiled', but FreeBits asks all processes in the middle of a step, which"
            " no graph does: use engine='pyro' or 'auto'"
        )

    optim.reduce = reduction = Reduction()

    def step(rows: tuple[Tensor, ...], bits: Tensor | None, part: Share) -> Tensor:
        reduction.weight = weight_of(part, dealing.subsamples)
        given = rows if bits is None else (*rows, bits[part.rows])
        if part.whole in sizes and compiled.reason is None:
            loss = compiled.step(*given, part)
        else:
            loss = torch.as_tensor(stock.step(*prepare(*given, part)), device=rows[0].device)
        return total(loss, reduction.weight)

    return step


def _in_memory(train: Split) -> Callable[..., Sequence[Any]]:
    """From the places of rows in memory to what programs are called with."""

    def prepare(index: Tensor, bits: Tensor | None = None) -> Sequence[Any]:
        return train.rows(index, bits), train.numbers(index)

    return prepare


def _of_stream(rule: Binarise) -> Callable[..., Sequence[Any]]:
    """From rows of a stream and their numbers to what programs are called with."""

    def prepare(rows: Tensor, numbers: Tensor, bits: Tensor | None = None) -> Sequence[Any]:
        return drawn(rule, rows, bits), numbers

    return prepare


def sizes_to_compile(num_data: int, recipe: ResolvedRecipe) -> set[int]:
    """The sizes of minibatches to compile: each has a graph of its own."""
    uses = _uses(num_data, recipe)
    return {size for size, count in uses.items() if is_worth_it(recipe.engine, count, size)}


def _often(num_data: int, recipe: ResolvedRecipe) -> set[int]:
    """The sizes of minibatches for which compiling would pay; else the commonest."""
    uses = _uses(num_data, recipe)
    often = {size for size, count in uses.items() if is_worth_it("auto", count, size)}
    return often or {max(uses, key=lambda size: uses[size])}


def _uses(num_data: int, recipe: ResolvedRecipe) -> dict[int, int]:
    """How many steps have minibatches of a size."""
    full, rest = divmod(num_data, recipe.batch_size)
    uses = {recipe.batch_size: full * recipe.epochs, rest: recipe.epochs}
    return {size: count for size, count in uses.items() if size and count}
