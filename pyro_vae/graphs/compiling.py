"""Captured graphs compiled by Inductor: once in a process for each code, and once on a machine,
whose disk keeps what was compiled for later processes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any, cast

import torch
from torch import Tensor, fx

from pyro_vae.graphs.capturing import CaptureError, Graph, reason
from pyro_vae.graphs.memory import keep_freed_memory

# torch's own random numbers, in the program's order: the noise of an eager run
_OPTIONS = {"fallback_random": True}


def compile_graph(graph: Graph, inputs: Sequence[Tensor]) -> Callable[..., Sequence[Any]]:
    """Compile a graph by Inductor for inputs of these shapes, strides, dtypes and devices; call it
    without gradients.

    A graph holds no tensors of its own, so graphs of the same code are compiled once in a process,
    whatever they read.

    Raises:
        CaptureError: Inductor cannot, for want of a C++ compiler, say.
    """
    tensors = [*graph.reads, *inputs]
    key = (graph.module.code, *((t.shape, t.stride(), t.dtype, t.device) for t in tensors))
    if key in _COMPILED:
        return _COMPILED[key]

    keep_freed_memory()
    varying = next(filter(_varies, graph.module.graph.nodes), None)
    if varying is not None:  # what stands after it was captured for one size alone
        raise CaptureError(
            f"the shape of a result depends on the value of a tensor: {varying.target}"
        )
    for node in graph.module.graph.nodes:
        node.meta.clear()  # notes of the capture, which the compiler would stumble on
    try:
        with torch.no_grad(), warnings.catch_warnings(), _known_shapes():
            # the compiler's own, of no use to whoever wrote the function
            warnings.simplefilter("ignore")
            inductor = import_module("torch._inductor")
            compiled = inductor.compile(graph.module, tensors, options=_OPTIONS)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever Inductor raises
        raise CaptureError(f"Inductor cannot compile it: {reason(error)}") from error
    finally:
        tensors.clear()  # the compiler keeps the list

    while len(_COMPILED) >= _MOST:
        del _COMPILED[next(iter(_COMPILED))]
    _COMPILED[key] = compiled
    return compiled


def _varies(node: fx.Node) -> bool:
    """Whether a node's result has a shape that depends on values: nonzero, unique, a mask as an
    index.
    """
    if torch.Tag.dynamic_output_shape not in getattr(node.target, "tags", ()):
        return False
    if node.target is not torch.ops.aten.index.Tensor:
        return True
    places = cast(Sequence[Any], node.args[1])
    found = [one.meta.get("val", one.meta.get("tensor_meta")) for one in places if one is not None]
    return any(one is None or one.dtype in (torch.bool, torch.uint8) for one in found)


def _known_shapes() -> AbstractContextManager[Any]:
    """Tell the compiler that no shape will change, and where it would note one that did: it keeps
    a graph on disk, for later processes, only where it could have.
    """
    guards, fake = import_module("torch._guards"), import_module("torch._subclasses.fake_tensor")
    shapes = import_module("torch.fx.experimental.symbolic_shapes").ShapeEnv()
    mode = fake.FakeTensorMode(allow_non_fake_inputs=True, static_shapes=True, shape_env=shapes)
    found: AbstractContextManager[Any] = guards.tracing(guards.TracingContext(mode))
    return found


_COMPILED: dict[Any, Callable[..., Sequence[Any]]] = {}
_MOST = 64  # compiled graphs that are kept, the last ones
