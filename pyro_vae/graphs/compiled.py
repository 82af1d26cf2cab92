"""A function of tensors that is captured and compiled at its first call, and again where a graph of it would not be true.

    step = Compiled(function, model, guide)
    outputs = step(x, index)        # captured and compiled
    outputs = step(x, index)        # the graph alone

One graph serves one signature: the inputs' shapes, strides, dtypes and devices, the other arguments' values, and the state
of the programs (`Watch`). Graphs are kept, so that going back to an earlier signature costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_vae.graphs.capturing import CaptureError, Graph, capture, compile_graph, rollback
from pyro_vae.graphs.rewrite import bernoulli_draws, bernoulli_sums, normal_draws
from pyro_vae.graphs.watch import Watch


@dataclass
class _Entry:
    graph: Graph
    run: Callable[..., Sequence[Any]]
    calls: int = 0


class Compiled:
    """`function`, captured and compiled once for each signature of its arguments and of the programs.

    Args:
        function: from tensors (and hashable values) to a sequence of tensors; may run more than once, at captures only.
        programs: what it runs, watched for changes.
        context: entered around each capture.

    Raises at a call:
        CaptureError: the function cannot be captured or compiled; an error of its own is raised as it is.
    """

    def __init__(
        self,
        function: Callable[..., Sequence[Any]],
        *programs: Any,
        context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.function = function
        self.programs = programs
        self.context = context
        self.num_captures = 0
        self._watch: Watch | None = None
        self._entries: dict[Any, _Entry] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Sequence[Any]:
        """The function's outputs, without gradients."""
        entry = self.entry(*args, **kwargs)
        entry.calls += 1
        with torch.no_grad():
            return entry.run(*entry.graph.reads, *(a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)))

    def entry(self, *args: Any, **kwargs: Any) -> _Entry:
        """The graph for these arguments, captured and compiled if there is none yet."""
        if self._watch is None or not self._watch.unchanged():
            self._watch = Watch(*self.programs)
        signature = (*map(_signature, (*args, *kwargs.values())), *kwargs)
        entry = self._entries.get((self._watch.key, signature))
        if entry is None:
            entry = self._build(self._watch, args, kwargs)
            if self._watch.changed():
                raise CaptureError(f"running it changes {', '.join(self._watch.changed())}, which a graph would not")
            self._watch = Watch(*self.programs)  # a first run may have added something: a name, a parameter
            self._entries[self._watch.key, signature] = entry
        return entry

    def unchanged(self) -> bool:
        """Whether the programs are as they were at the last call."""
        return self._watch is not None and self._watch.unchanged()

    def _build(self, watch: Watch, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Entry:
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
            with rollback(watch.modules, *(t.device for t in inputs)):
                self.function(
                    *args, **kwargs
                )  # makes what a first run makes (parameters, say): live tensors, no results
            graph = capture(function, inputs, watch.modules)
        self.num_captures += 1
        for rewrite in (bernoulli_sums, bernoulli_draws, normal_draws):
            rewrite(graph.module)
        return _Entry(graph, compile_graph(graph, inputs))


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
