"""Whether a program answers for some of the data, or only for just those that it was first run on.

A program whose parameters are found by `index`, or that has none of its own for a datum, answers
for any part of the data, which is what minibatches, blocks and checks on a few rows run it on. Some
guides are made to the size of the data instead:

    pyro.param("loc", torch.zeros(len(x), d))        by hand, row n for datum n
    AutoNormal(model)                                by Pyro, at the first call

Run on eight rows, such a guide would be a guide of eight data for ever. So here it is run on a part
of the data, and everything that the run makes (parameters in modules and in Pyro's store) is taken
away again. A guide made to the size of the data is told by what changes with their number.

Which data a part consists of is said by `index`, their numbers; by `default_index` where nobody
else does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

from pyro_vae.programs.calls import Program, called
from pyro_vae.programs.evaluation import isolated_noise
from pyro_vae.programs.protocols import HasRows, offers
from pyro_vae.programs.sites import sample_sites
from pyro_vae.programs.tracing import traced

Shapes = dict[str, torch.Size]


def default_index(x: Tensor, *guides: Any) -> Tensor:
    """What programs get as `index` `(N,)` where nobody says: `own_numbers`, else 0..N-1."""
    numbers = own_numbers(x, *guides)
    return torch.arange(len(x), device=x.device) if numbers is None else numbers


def own_numbers(x: Tensor, *guides: Any) -> Tensor | None:
    """The numbers `(N,)` of the first guide's table with a row for each datum; None without one."""
    if not isinstance(x, Tensor) or not x.dim():
        return None
    for guide in guides:
        numbers = getattr(guide, "numbers", None)
        if isinstance(numbers, Tensor) and numbers.shape == x.shape[:1]:
            return numbers.to(x.device)
    return None


def known_numbers(guide: Any) -> Tensor | None:
    """The numbers of the data that a guide has rows for; None if it answers for any data."""
    if not offers(guide, HasRows):
        return None
    return getattr(guide, "numbers", torch.arange(guide.num_rows))


def some(
    x: Tensor, index: Tensor | None, number: int, *programs: Program, spread: bool = False
) -> tuple[Tensor, Tensor | None]:
    """The first `number` data `(N, *shape)` and their rows; all of them where a program answers
    only for all.

    Args:
        spread: take the datum of the largest number for the last of them: a table that is too short
            for it shows there.
    """
    if len(x) <= number or not all(takes_parts(program, x, index) for program in programs):
        return x, index
    if index is None:
        return x[:number], None

    rows = torch.arange(number, device=index.device)
    if spread:
        rows[-1] = index.argmax().clamp(min=number - 1)
    return x[rows.to(x.device)], index[rows]


def batches(x: Tensor, index: Tensor | None, size: int, *programs: Program) -> tuple[Tensor, ...]:
    """The places of the data `(N, *shape)`, `size` at a time; all at once where a program answers
    only for all.
    """
    whole = len(x) > size and not all(takes_parts(program, x, index) for program in programs)
    return torch.arange(len(x), device=x.device).split(len(x) if whole else size)


def even_blocks(
    num_data: int, most: int, device: torch.device | None = None
) -> list[tuple[Tensor, int]]:
    """Places of the data in blocks of one size, at most `most`, the last filled up with its last
    datum, and how many of each count: a graph serves one size.

    Example:
        >>> [(rows.tolist(), count) for rows, count in even_blocks(5, 3)]
        [([0, 1, 2], 3), ([3, 4, 4], 2)]
    """
    size = math.ceil(num_data / math.ceil(num_data / most))
    places = torch.arange(math.ceil(num_data / size) * size, device=device).clamp(max=num_data - 1)
    parts = places.split(size)
    return [(part, min(size, num_data - number * size)) for number, part in enumerate(parts)]


def takes_parts(program: Program, x: Tensor, index: Tensor | None = None) -> bool:
    """Whether a program may be run on some of the data `(N, *shape)` alone; nothing of the trial is
    left behind.
    """
    if len(x) == 1 or _is_known(program):
        return True

    number = 2 if len(x) > 2 else 1
    try:
        shapes, fits = _trial(program, x, index, number)
        if fits and not shapes:
            _note(program)
        if not fits or not shapes:
            return fits
        return _trial(program, x, index, number + 1)[0] == shapes
    except Exception:
        # whatever a user's program raises; `check_programs` tells one that is wrong on all data too
        return not _runs(program, x, index)


_KNOWN: WeakKeyDictionary[nn.Module, tuple[int, ...]] = WeakKeyDictionary()
"""Modules that take parts and make nothing, by the submodules that they had: a trial may cost as
much as the work itself.
"""


def _is_known(program: Program) -> bool:
    return isinstance(program, nn.Module) and _KNOWN.get(program) == _modules(program)


def _note(program: Program) -> None:
    if isinstance(program, nn.Module):
        _KNOWN[program] = _modules(program)


def _modules(program: nn.Module) -> tuple[int, ...]:
    return tuple(id(module) for module in program.modules())


def _runs(program: Program, x: Tensor, index: Tensor | None) -> bool:
    try:
        return _trial(program, x, index, len(x))[1]
    except Exception:
        return False


def _trial(program: Program, x: Tensor, index: Tensor | None, number: int) -> tuple[Shapes, bool]:
    """Shapes of what a run on the first `number` data makes; and whether its plates at dim -1 have
    that size, if any.
    """
    x, index = x[:number], None if index is None else index[:number]
    before = _parameters(program).keys()
    with (
        _undone(program),
        isolated_noise(x.device),
        torch.no_grad(),
        poutine.block(),
        _Afresh() as afresh,
    ):
        trace = traced(called(program), x, index)
        made = {name: shape for name, shape in _parameters(program).items() if name not in before}

    sizes = []
    for site in sample_sites(trace):
        frames = [f for f in site["cond_indep_stack"] if f.vectorized and f.dim == -1]
        sizes += [frame.size for frame in frames]
    return afresh.shapes | made, not sizes or number in sizes


def _parameters(program: Program) -> Shapes:
    named = program.named_parameters() if isinstance(program, nn.Module) else ()
    return {name: p.shape for name, p in named if not isinstance(p, nn.UninitializedParameter)}


class _Afresh(poutine.messenger.Messenger):
    """Answer `pyro.param` statements with what they begin with, whatever Pyro's store has, and note
    the shapes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.known = set(pyro.get_param_store().keys())
        self.shapes: Shapes = {}

    def _pyro_param(self, msg: Any) -> None:
        name, *start = msg["args"]
        if start and name in self.known:
            msg["value"] = start[0]() if callable(start[0]) else start[0]
            msg["done"] = True

    def _pyro_post_param(self, msg: Any) -> None:
        name, *start = msg["args"]
        if start and "$$$" not in name:  # else of a net
            self.shapes[name] = msg["value"].shape


@contextmanager
def _undone(program: Program) -> Iterator[None]:
    """Take away what a run makes: attributes and parameters of the program's modules, and names in
    Pyro's store.
    """
    modules = list(program.modules()) if isinstance(program, nn.Module) else []
    states = [(m, dict(m.__dict__)) for m in modules if not isinstance(m, LazyModuleMixin)]
    dicts = [value for _, state in states for value in state.values() if isinstance(value, dict)]
    tables = [(table, dict(table)) for table in dicts]

    store = pyro.get_param_store()
    known = set(store.keys())

    try:
        yield
    finally:
        for module, state in states:
            _put_back(module.__dict__, state)
        for table, entries in tables:
            _put_back(table, entries)
        for name in set(store.keys()) - known:
            with suppress(KeyError):  # one parameter may have two names, as AutoIAFNormal's have
                del store[name]
            store._constraints.pop(name, None)


def _put_back(table: dict[Any, Any], entries: dict[Any, Any]) -> None:
    same = table.keys() == entries.keys() and all(
        table[key] is value for key, value in entries.items()
    )
    if not same:
        table.clear()
        table.update(entries)
