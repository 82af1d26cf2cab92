"""Capture: run a Python function of tensors once and keep what it did to tensors as one graph.

`make_fx` records every tensor operation of the run, those of autograd included. What is not a
tensor operation (poutine, plates, distribution objects, the loops of a network) happens once,
during the run, and costs nothing afterwards. Two things are done to the record:

* A tensor that the function read without being given it (a weight, a buffer, a table of data)
  becomes an input of the graph, by identity: changing it in place, by an optimizer or
  `load_state_dict`, changes what the graph computes.
* A number that the function turned into a tensor (`torch.tensor(1.0)`) becomes a literal.

`Tensor.item` gives a scalar tensor during the run, so that a loss that is only read, as Pyro's are,
stays in the graph. Control flow on such a value, which one record cannot hold, is a `CaptureError`,
and so are values that leave torch.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode

from pyro_vae.graphs.notes import notes

Function = Callable[..., Sequence[Tensor | None]]
"""A function of tensors that returns a sequence of tensors."""

_LEAVING = {
    torch.Tensor.numpy,
    torch.Tensor.tolist,
    torch.Tensor.__array__,
    torch.Tensor.__dlpack__,
}
# what a number becomes on its way into a tensor
_COPIED = torch.ops.aten.lift_fresh_copy.default


class Moment:
    """Torch's random state, on the CPU and the current GPU, and the buffers of modules, as they are
    at one time.
    """

    def __init__(self, modules: Iterable[nn.Module] = ()) -> None:
        buffers = [b for module in modules for b in module._buffers.values() if b is not None]
        self._buffers = [(buffer, buffer.clone()) for buffer in buffers]
        self._noise = torch.get_rng_state()
        self._cuda_noise = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None

    def has_noise_of(self, other: Moment) -> bool:
        """Whether the random states are the same."""
        mine, theirs = self._cuda_noise, other._cuda_noise
        if mine is None or theirs is None:
            return mine is theirs and torch.equal(self._noise, other._noise)
        return torch.equal(mine, theirs) and torch.equal(self._noise, other._noise)

    def restore(self) -> None:
        """Put everything back as it was."""
        torch.set_rng_state(self._noise)
        if self._cuda_noise is not None:
            torch.cuda.set_rng_state(self._cuda_noise)
        with torch.no_grad():
            for buffer, before in self._buffers:
                buffer.copy_(before)


@dataclass
class FirstRun:
    """A run of a function as it is, before it is captured.

    Attributes:
        outputs: what it returned, without gradients.
        after: where it left the random state and the buffers.
    """

    outputs: list[Any]
    after: Moment

    def take(self) -> list[Any]:
        """The outputs, with random state and buffers as they are after such a run."""
        self.after.restore()
        return self.outputs


class CaptureError(RuntimeError):
    """A function that cannot be captured or compiled; the message has the reason.

    Attributes:
        first: the run that the function had at the call, if any; no other trace of it is left.
    """

    first: FirstRun | None = None


@dataclass
class Graph:
    """A captured function.

    Attributes:
        module: the graph, called as `module(*reads, *inputs)`; runs as it is, one operation at a
            time.
        reads: the live tensors that the function read.
        after: where a run leaves the random state that the capture started from.
    """

    module: fx.GraphModule
    reads: list[Tensor]
    after: Moment


class _ItemsAreTensors(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.item:
            return args[0].detach()
        if func in _LEAVING:
            raise CaptureError(
                "it takes the values of a tensor out of torch"
                f" ({getattr(func, '__name__', func)}), where no graph follows"
            )
        return func(*args, **(kwargs or {}))


@contextmanager
def _saved_tensors_let_go() -> Iterator[None]:
    """Free what autograd saves for backward passes that the function never makes.

    The saved output of an operation that is recorded refers to itself, and would live as long as
    the process does, with all that led to it.
    """
    saved: list[list[Tensor]] = []

    def pack(tensor: Tensor) -> list[Tensor]:
        saved.append([tensor])
        return saved[-1]

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda held: held[0]):
        yield

    for held in saved:
        held.clear()


@contextmanager
def rollback(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Put torch's random state, CPU and current GPU, and the modules' buffers back at the end."""
    before = Moment(modules)
    try:
        yield
    finally:
        before.restore()


def capture(
    function: Function,
    inputs: Sequence[Tensor],
    modules: Iterable[nn.Module] = (),
    change: Callable[[fx.GraphModule], None] | None = None,
) -> Graph:
    """Run `function(*inputs)` once and return its graph.

    Torch's random state and the buffers of `modules` are left as they were: a capture is no step.
    `change` may rewrite the graph before its code is written, which takes a while.

    Raises:
        CaptureError: the function looks at the value of a tensor, or does what `make_fx` has no
            record of.
    """
    # copies, so that a tensor given twice, or also read, is not taken for one and the same
    copies = [t.detach().clone() for t in inputs]
    try:
        with rollback(modules), _saved_tensors_let_go(), notes(), _ItemsAreTensors():
            module = make_fx(lambda *tensors: list(function(*tensors)))(*copies)
            after = Moment()
    except CaptureError:
        raise
    except Exception as error:  # whatever the function or the tracer raises
        raise CaptureError(reason(error)) from error

    reads = _lift(module)
    (change or fx.GraphModule.recompile)(module)
    return Graph(module, reads, after)


@contextmanager
def sources_forgotten() -> Iterator[None]:
    """Drop the sources of the graphs that are made meanwhile.

    torch.fx keeps them for tracebacks, as long as the process lives.
    """
    kept: dict[str, str] = getattr(getattr(fx.graph_module, "_loader", None), "eval_cache", {})
    before = set(kept)
    try:
        yield
    finally:
        for name in [name for name in kept if name not in before]:
            del kept[name]
            linecache.cache.pop(name, None)


def reason(error: Exception) -> str:
    """Why there is no graph, in one line."""
    text = str(error)
    if "_local_scalar_dense" in text or (isinstance(error, TypeError) and "__bool__" in text):
        looks = "it looks at the value of a tensor (`if`, `float`, a loop over data)"
        return f"{looks}, and one graph holds one path only"
    return f"{type(error).__name__}: {next(iter(text.splitlines()), '')}"


def _lift(module: fx.GraphModule) -> list[Tensor]:
    """Turn all tensors that the graph holds into inputs, placed first, and return them; scalars
    become literals. The module's code is still that of before.
    """
    graph = module.graph
    first = next(iter(graph.nodes))
    reads: list[Tensor] = []
    inputs: dict[int, fx.Node] = {}

    held = [n for n in graph.nodes if n.op == "get_attr"]
    targets = {node.target for node in held}
    for node in held:
        value = getattr(module, node.target)
        if isinstance(value, torch.Generator):
            raise CaptureError(
                "it draws from a torch.Generator of its own, which no graph moves on"
            )
        if value.dim() == 0 and all(user.target is _COPIED for user in node.users):
            for user in list(node.users):
                _replace_by_literal(graph, user, value)
        else:
            if id(value) not in inputs:
                with graph.inserting_before(first):
                    inputs[id(value)] = graph.placeholder(f"read_{len(reads)}")
                inputs[id(value)].meta["val"] = value
                reads.append(value)
            node.replace_all_uses_with(inputs[id(value)])
        graph.erase_node(node)

    for name in targets:
        delattr(module, name)
    graph.lint()
    return reads


def _replace_by_literal(graph: fx.Graph, node: fx.Node, value: Tensor) -> None:
    with graph.inserting_before(node):
        options: dict[str, Any] = {"dtype": value.dtype, "device": value.device}
        literal = graph.call_function(torch.ops.aten.full.default, ([], value.item()), options)
    node.replace_all_uses_with(literal)
    graph.erase_node(node)
