"""A function of tensors that is captured and compiled at its first call, and again where a graph of
it would not be true.

    step = Compiled(function, model, guide)
    outputs = step(x, index)        # captured and compiled
    outputs = step(x, index)        # the graph alone

The first call of a kind runs the function as it is before it is captured. What that run makes on
the way (a parameter, a prototype, a guess), and draws noise for, no later run makes: then its
outputs are those of the call, and the noise goes on from there, as if nothing were captured. Else
the call is the graph's already.

One graph serves one signature: the inputs' shapes, strides, dtypes and devices, the other
arguments' values, and the state of the programs (`Watch`). Graphs are kept, so that going back to
an earlier signature costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from pyro_vae.graphs.capturing import (
    CaptureError,
    FirstRun,
    Graph,
    Moment,
    capture,
    rollback,
    sources_forgotten,
)
from pyro_vae.graphs.compiling import compile_graph
from pyro_vae.graphs.rewrite import rewrite
from pyro_vae.graphs.watch import Watch, facts

_MOST_CAPTURES = 16  # after so many something changes at each call
_COMPARED = {8**n for n in range(12)}  # calls of a graph before one at which it is compared
# relative; graphs in float32 differ by 1e-6 or so, another path of the program by far more
_TOLERANCE = 1e-3
_AT_A_KINK = 0.1  # the same of outputs after the first, at one comparison: gradients may jump


@dataclass
class _Entry:
    graph: Graph
    run: Callable[..., Sequence[Any]]
    watch: Watch
    facts: list[Any]
    on_gpu: bool
    calls: int = 0
    forgiven: bool = False  # it was off by a little, and is compared again

    def holds(self) -> bool:
        """Whether the tensors that are read are of the kind that they were."""
        return self.facts == [facts(t) for t in self.graph.reads]


class Compiled:
    """`function`, captured and compiled once for each signature of its arguments and of the
    programs.

    At the second, ninth, 65th, 513th, ... call of a graph its outputs are compared with the
    function's own on the arguments at hand, from the same random state: what a record of one run
    cannot know comes to light there.

    Args:
        function: from tensors (and hashable values) to a sequence of tensors, None among them.
        programs: what it runs, watched for changes.
        context: entered around each run of the function itself.
        pays: whether to compile a graph for tensors like these; else it runs one operation at a
            time.

    Raises at a call:
        CaptureError: the function cannot be captured or compiled, or differs from its graph; random
            state and buffers are then as they were, and `first` is the run that the function had,
            if any. An error of the function's own is raised as it is.
    """

    def __init__(
        self,
        function: Callable[..., Sequence[Any]],
        *programs: Any,
        context: Callable[[], AbstractContextManager[Any]] = nullcontext,
        pays: Callable[[Sequence[Tensor]], bool] = lambda inputs: True,
    ) -> None:
        self.function, self.pays = function, pays
        self.programs = programs
        self.context = context
        self.num_captures = 0
        self._watch: Watch | None = None
        self._states: dict[Any, int] = {}
        self._state = -1
        self._entries: dict[tuple[int, Any], _Entry] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Sequence[Any]:
        """The function's outputs, without gradients."""
        entry = self._find(args, kwargs)
        if entry is None:
            entry, first = self._begin(args, kwargs)
            if not entry.graph.after.has_noise_of(first.after):
                return first.take()
        if entry.calls in _COMPARED or entry.forgiven:
            self._compare(entry, args, kwargs)
        return self._run(entry, args, kwargs)

    def plain(self, *args: Any, **kwargs: Any) -> Sequence[Any]:
        """The outputs of the graph, without a comparison."""
        return self._run(self._find(args, kwargs) or self._begin(args, kwargs)[0], args, kwargs)

    def unchanged(self) -> bool:
        """Whether the programs are as they were at the last call, and the tensors that they read
        are of the kind that they were.
        """
        same = self._watch is not None and self._watch.unchanged()
        return same and all(entry.holds() for entry in self._now())

    def _now(self) -> list[_Entry]:
        """The graphs of the programs as they are, one for each signature of the arguments."""
        return [entry for (state, _), entry in self._entries.items() if state == self._state]

    def on_gpu(self) -> bool:
        """Whether all that the graphs read lies on the GPU: what lies on the host, a CUDA graph
        records by its value.
        """
        return all(entry.on_gpu for entry in self._now())

    def _find(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Entry | None:
        """The graph for these arguments and the programs as they are, if there is one."""
        self._look()
        entry = self._entries.get((self._state, _signatures(args, kwargs)))
        return entry if entry is not None and entry.holds() else None

    def _begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[_Entry, FirstRun]:
        """Run the function as it is, capture it, and put random state and buffers back as they were
        before both.
        """
        with rollback(self._look().modules):
            with self.context():
                outputs = [
                    t.detach() if isinstance(t, Tensor) else t
                    for t in self.function(*args, **kwargs)
                ]
            first = FirstRun(outputs, Moment(self._look().modules))
        try:
            return self._capture(args, kwargs), first
        except CaptureError as error:
            error.first = first
            raise

    def _capture(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Entry:
        """A new graph, captured where the programs stay as they are; an earlier one where the first
        run led back to it.
        """
        signatures = _signatures(args, kwargs)
        entry = self._find(args, kwargs)
        # a capture may still add something (a name, a prototype): then once more
        for _ in range(2):
            watch = self._look()
            entry = entry or self._build(watch, args, kwargs)
            if not watch.changed():
                entry.watch = self._look()
                for key in [key for key in self._entries if key[0] == self._state]:
                    if not self._entries[key].holds():
                        del self._entries[key]
                self._entries[self._state, signatures] = entry
                return entry
            entry = None
        raise CaptureError(
            f"running it changes {', '.join(watch.changed())}, which a graph would not"
        )

    def _look(self) -> Watch:
        """Watch the programs as they are now, and number that state of theirs."""
        if self._watch is None or not self._watch.unchanged():
            self._watch = Watch(*self.programs)
            self._state = self._states.setdefault(self._watch.key, len(self._states))
        if self._watch.unseen:
            raise CaptureError(f"it can come upon {self._watch.unseen[0]}")
        return self._watch

    def _run(self, entry: _Entry, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sequence[Any]:
        entry.calls += 1
        with torch.no_grad():
            return entry.run(
                *entry.graph.reads, *(a for a in (*args, *kwargs.values()) if isinstance(a, Tensor))
            )

    def _compare(self, entry: _Entry, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        with self.context(), rollback(entry.watch.modules):
            expected = list(self.function(*args, **kwargs))
        with rollback(entry.watch.modules):
            got = list(self._run(entry, args, kwargs))
        again, entry.forgiven = entry.forgiven, False
        if _agree(got, expected):
            return
        entry.forgiven = not again and _agree(got, expected, _AT_A_KINK)
        if not entry.forgiven or not self._takes_its_path(entry, args, kwargs):
            raise CaptureError(
                "on other data or noise it differs from what the graph computes: it uses random"
                " numbers or control flow that are not torch's, say"
            )

    def _takes_its_path(self, entry: _Entry, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether a graph captured now is the same. Outputs may differ then by rounding alone: of a
        unit of a net on its kink the gradient is there or not. That is rare, a fault is not.
        """
        with sources_forgotten():
            now, then = self._graph(entry.watch, args, kwargs)[0], entry.graph
        same = now.module.code == then.module.code and len(now.reads) == len(then.reads)
        both = zip(now.reads, then.reads, strict=False)
        return same and all(a is b or (facts(a) == facts(b) and torch.equal(a, b)) for a, b in both)

    def _build(self, watch: Watch, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Entry:
        if self.num_captures >= _MOST_CAPTURES:
            raise CaptureError(
                "an argument or attribute changes so often that"
                f" {self.num_captures} graphs were not enough"
            )
        with sources_forgotten():
            graph, inputs = self._graph(watch, args, kwargs)
            self.num_captures += 1
            run = compile_graph(graph, inputs) if self.pays(inputs) else graph.module
            on_gpu = all(t.is_cuda for t in graph.reads)
            return _Entry(graph, run, watch, [facts(t) for t in graph.reads], on_gpu)

    def _graph(
        self, watch: Watch, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Graph, list[Tensor]]:
        """The function's graph, and the tensors among the arguments."""
        arguments = [*args, *kwargs.values()]
        places = [i for i, a in enumerate(arguments) if isinstance(a, Tensor)]
        inputs = [arguments[i] for i in places]

        def function(*tensors: Tensor) -> Sequence[Any]:
            filled = list(arguments)
            for place, tensor in zip(places, tensors, strict=True):
                filled[place] = tensor
            named = dict(zip(kwargs, filled[len(args) :], strict=True))
            return self.function(*filled[: len(args)], **named)

        with self.context():
            return capture(function, inputs, watch.modules, rewrite), inputs


def _agree(
    got: list[Tensor | None], expected: list[Tensor | None], tolerance: float = _TOLERANCE
) -> bool:
    """Whether outputs are the same up to rounding, each beside its own size or a hundredth of the
    others'; the first, a loss, up to `_TOLERANCE` in any case.

    Small ones (the gradient of a bias before a normalisation is 0 up to rounding) are judged by the
    size of the rest; the first, a loss, stands alone. Where the function gives NaN or infinity
    nothing can be said. An output that is missing at the end is None: the function may have more of
    them by and by.
    """
    sizes = [0.0 if t is None else t.double().norm().item() for t in expected]
    if not all(map(math.isfinite, sizes)):
        return True
    rest = math.hypot(*sizes[1:]) / 100
    for place, (mine, other) in enumerate(zip_longest(got, expected)):
        if mine is None or other is None or mine.shape != other.shape:
            if mine is not other:
                return False
            continue
        apart = (mine - other).double().norm().item()
        size = tolerance * max(sizes[place], rest) if place else _TOLERANCE * max(sizes[0], 1.0)
        if not apart <= size:
            return False
    return True


def _signatures(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a graph takes for granted about the arguments, and torch's settings."""
    arguments = map(_signature, (*args, *kwargs.values()))
    autocast = (_autocast(device) for device in ("cpu", "cuda"))
    return (*arguments, *kwargs, *autocast, torch.get_default_dtype())


def _autocast(device: str) -> torch.dtype | None:
    """What products are taken in on a device under the caller's autocast; None without one."""
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


def _signature(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return argument.shape, argument.stride(), argument.dtype, argument.device
    try:
        hash(argument)
    except TypeError as error:
        raise CaptureError(
            f"an argument is a {type(argument).__name__}, expected tensors and hashable values"
        ) from error
    return type(argument), argument
