"""Random numbers of a minibatch, of which a process needs those of its own rows.

Torch's generators are in the same state in all processes, and must stay so. So each draw is made
for the whole minibatch, and the process takes its rows of it:

    (S, B_own, D) normal numbers  =  rows `start` to `stop` of (S, B, D) of them

Which dimension of a draw is the data's is found by running the programs on minibatches of two
sizes (`plan`): it is the one whose size changes. That holds for sites of any name and for dropout.
What is drawn by rejection (Gamma and its kin) takes more or fewer random numbers by its parameters,
of which a process knows its own rows' alone: it is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pyro_vae.processes import Share
from pyro_vae.programs.calls import Refused

_aten = torch.ops.aten
SIZES = (3, 5)
"""Of the minibatches by which a plan is made."""


class Draw(NamedTuple):
    """A draw of a program: torch's operation, the data's dimension and how often the data stand in
    it, one after another; None where the draw is none of the data.
    """

    name: str
    dim: int | None
    times: int = 1


def plan(run: Callable[[int], object]) -> tuple[Draw, ...]:
    """The draws of `run(B)`, which runs programs on a minibatch of B rows.

    Raises:
        ValueError: what cannot be drawn for some of the rows.
    """
    found = []
    for size in SIZES:
        seen = _Seen()
        with seen:
            run(size)
        found.append(seen.draws)

    names = [[name for name, _ in draws] for draws in found]
    if names[0] != names[1]:
        raise ValueError(
            "model, guide: they draw more or fewer random numbers by the size of the minibatch,"
            f" {len(names[0])} times for {SIZES[0]} data and {len(names[1])} for {SIZES[1]}: train"
            " with one process"
        )
    return tuple(_draw(name, one, other) for (name, one), (_, other) in zip(*found, strict=True))


class Drawn(TorchDispatchMode):
    """Meanwhile draws are made for the whole minibatch, and the rows of a share taken.

    Args:
        draws: the plan of what is run.
        part: the rows.
    """

    def __init__(self, draws: tuple[Draw, ...], part: Share) -> None:
        super().__init__()
        self.draws, self.part, self.done = draws, part, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not _is_random(func):
            return func(*args, **kwargs)

        if self.done >= len(self.draws) or self.draws[self.done].name != str(func):
            raise Refused(
                f"model, guide: they draw random numbers ({func}) that they did not draw before"
                " the first step: train with one process"
            )
        draw = self.draws[self.done]
        self.done += 1
        if draw.dim is None:
            return func(*args, **kwargs)
        return _KNOWN[draw.name](func, _Rows(draw.dim, draw.times, self.part), args, kwargs)


class _Seen(TorchDispatchMode):
    """Notes the draws that are made meanwhile, and their shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.draws: list[tuple[str, torch.Size]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if _is_random(func):
            first = found[0] if isinstance(found, tuple | list) else found
            self.draws.append((str(func), first.shape))
        return found


_RANDOM: dict[Any, bool] = {}


def _is_random(func: Any) -> bool:
    if func not in _RANDOM:
        _RANDOM[func] = torch.Tag.nondeterministic_seeded in func.tags
    return _RANDOM[func]


def _draw(name: str, one: torch.Size, other: torch.Size) -> Draw:
    """A draw by its shapes in minibatches of the two sizes."""
    if one == other:
        return Draw(name, None)
    if name not in _KNOWN:
        kind = name.split(".")[1].strip("_")
        raise ValueError(
            f"model, guide: they draw by {kind!r}, which takes more or fewer random numbers by its"
            " parameters, and a process knows those of its own rows alone: train with one process"
        )

    changed = [dim for dim, (a, b) in enumerate(zip(one, other, strict=False)) if a != b]
    if len(one) == len(other) and len(changed) == 1:
        dim = changed[0]
        times, rest = divmod(one[dim], SIZES[0])
        if rest == 0 and other[dim] == times * SIZES[1]:
            return Draw(name, dim, times)
    raise ValueError(
        f"model, guide: they draw random numbers of shape {tuple(one)} for {SIZES[0]} data and"
        f" {tuple(other)} for {SIZES[1]}, expected one dimension that is the data's: train with one"
        " process"
    )


class _Rows(NamedTuple):
    """Where the rows of a share are in a draw."""

    dim: int
    times: int
    part: Share

    def whole(self, shape: torch.Size) -> list[int]:
        """The shape of the draw for the whole minibatch."""
        return [*shape[: self.dim], self.times * self.part.whole, *shape[self.dim + 1 :]]

    def of(self, drawn: Tensor) -> Tensor:
        """The rows of it."""
        start, number = self.part.start, self.part.stop - self.part.start
        if self.times == 1:
            return drawn.narrow(self.dim, start, number).contiguous()
        apart = drawn.unflatten(self.dim, (self.times, self.part.whole))
        return apart.narrow(self.dim + 1, start, number).flatten(self.dim, self.dim + 1)


def _filled(func: Any, rows: _Rows, args: Any, kwargs: Any) -> Tensor:
    """A tensor that is filled in place, whatever it holds."""
    mine = args[0]
    empty = torch.empty(rows.whole(mine.shape), dtype=mine.dtype, device=mine.device)
    return mine.copy_(rows.of(func(empty, *args[1:], **kwargs)))


def _made(func: Any, rows: _Rows, args: Any, kwargs: Any) -> Tensor:
    """A tensor that is made to a size, the one list among the arguments."""
    sized = [rows.whole(torch.Size(a)) if isinstance(a, list | tuple) else a for a in args]
    return rows.of(func(*sized, **kwargs))


def _like(func: Any, rows: _Rows, args: Any, kwargs: Any) -> Tensor:
    """A tensor that is made to the size of another."""
    return rows.of(func(args[0].new_empty(rows.whole(args[0].shape)), *args[1:], **kwargs))


def _normal(func: Any, rows: _Rows, args: Any, kwargs: Any) -> Tensor:
    """Normal numbers of means and deviations, one of which is a tensor."""
    mean, std = args[:2]
    like = next(a for a in (mean, std) if isinstance(a, Tensor))
    shape = torch.broadcast_shapes(*(a.shape for a in (mean, std) if isinstance(a, Tensor)))
    drawn = torch.randn(rows.whole(shape), dtype=like.dtype, device=like.device)
    return rows.of(drawn) * std + mean


def _bernoulli(func: Any, rows: _Rows, args: Any, kwargs: Any) -> Tensor:
    """Bernoulli variables of a tensor of probabilities, as torch draws them on a CPU."""
    (p,) = args
    drawn = torch.rand(rows.whole(p.shape), dtype=p.dtype, device=p.device)
    return (rows.of(drawn) < p).to(p.dtype)


def _bernoulli_(func: Any, rows: _Rows, args: Any, kwargs: Any) -> Tensor:
    mine, p = args
    return mine.copy_(_bernoulli(func, rows, (p.expand_as(mine),), kwargs))


def _multinomial(func: Any, rows: _Rows, args: Any, kwargs: Any) -> Tensor:
    """One draw of categories a row, as torch makes it: the largest of p / exponential."""
    p, number = args[:2]
    if number != 1 or rows.dim != p.dim() - 2:
        raise Refused(
            f"model, guide: they draw {number} categories at once by torch.multinomial, expected"
            " one: train with one process"
        )
    drawn = p.new_empty(rows.whole(p.shape)).exponential_(1)
    return (p / rows.of(drawn)).argmax(-1, keepdim=True)


_KNOWN: dict[str, Callable[..., Tensor]] = {
    **{
        str(op): _filled
        for op in (
            _aten.normal_.default,
            _aten.uniform_.default,
            _aten.exponential_.default,
            _aten.bernoulli_.float,
            _aten.cauchy_.default,
            _aten.log_normal_.default,
            _aten.geometric_.default,
            _aten.random_.default,
            _aten.random_.to,
            getattr(_aten.random_, "from"),
        )
    },
    **{
        str(op): _made
        for op in (
            _aten.randn.default,
            _aten.rand.default,
            _aten.randint.default,
            _aten.randint.low,
            _aten.normal.float_float,
        )
    },
    **{
        str(op): _like
        for op in (
            _aten.randn_like.default,
            _aten.rand_like.default,
            _aten.randint_like.default,
            _aten.randint_like.low_dtype,
        )
    },
    **{
        str(op): _normal
        for op in (
            _aten.normal.Tensor_Tensor,
            _aten.normal.Tensor_float,
            _aten.normal.float_Tensor,
        )
    },
    str(_aten.bernoulli.default): _bernoulli,
    str(_aten.bernoulli_.Tensor): _bernoulli_,
    str(_aten.multinomial.default): _multinomial,
}
"""How torch's draws are made for a whole minibatch; others depend on their arguments' values."""
