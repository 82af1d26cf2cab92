"""A GPU as far as CUDA graphs go, played by the CPU.

While `torch.cuda.graph` records, nothing is computed: what is made holds NaN, what is written in
place stays as it is. What a real recording refuses is refused: to read a value on the host, shapes
that follow from values, copies from the host, to wait for the device, a generator of one's own. A
replay runs the recorded operations on the memory of the recording, so that whatever was to be
copied into it, and was not, shows. Graphs have to run one operation at a time
(`scenarios.eager`): compiled code passes the fake by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

NOT_PERMITTED = "operation not permitted when stream is capturing"
_READING = {
    name: getattr(Tensor, name)
    for name in ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__array__")
}
_FROM_HOST = (torch.tensor, torch.as_tensor)


class Refused(RuntimeError):
    """What a recording does not allow."""


class FakeGraph:
    """`torch.cuda.CUDAGraph`."""

    made: list[FakeGraph]

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Any, Any, list[Tensor]]] = []
        self.replays = 0
        self.made.append(self)

    @torch.no_grad()
    def replay(self) -> None:
        """Run what was recorded, on the memory of the recording."""
        self.replays += 1
        for function, args, kwargs, outputs in self.calls:
            values = function(*args, **kwargs)
            made = _tensors(values) if outputs else []  # else it wrote what it was given
            for mine, value in zip(outputs, made, strict=True):
                mine.copy_(value)


class _OnHost(TorchFunctionMode):
    """Refuses what reads the device from Python, or copies to it from Python."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _READING.values():
            raise Refused(NOT_PERMITTED)
        if func in _FROM_HOST and kwargs.get("device") is not None:
            raise Refused(NOT_PERMITTED)
        return func(*args, **kwargs)


class _OnDevice(TorchDispatchMode):
    """Records operations and runs none."""

    def __init__(self, graph: FakeGraph) -> None:
        super().__init__()
        self.graph = graph

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        _check(func, args, kwargs)
        schema = func._schema
        written = {
            next(iter(a.alias_info.before_set), a.name): a.name
            for a in schema.arguments
            if a.alias_info is not None and a.alias_info.is_write
        }
        if written:
            self.graph.calls.append((func, args, kwargs, []))
            return _returned(schema, written, args, kwargs)

        outputs = func(*args, **kwargs)
        if not any(r.alias_info is not None for r in schema.returns):  # else a view, or nothing
            for t in _tensors(outputs):
                t.fill_(torch.nan if t.is_floating_point() else 0)
            self.graph.calls.append((func, args, kwargs, _tensors(outputs)))
        return outputs


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _check(func: Any, args: Any, kwargs: Any) -> None:
    tags = func.tags
    by_mask = func is torch.ops.aten.index.Tensor and any(
        t is not None and t.dtype in (torch.bool, torch.uint8) for t in args[1]
    )
    by_value = torch.Tag.dynamic_output_shape in tags and func is not torch.ops.aten.index.Tensor
    if torch.Tag.data_dependent_output in tags or by_value or by_mask:
        raise Refused(NOT_PERMITTED)
    if kwargs.get("generator") is not None:
        raise Refused("philox_cuda_state for an unexpected CUDA generator used during capture")


def _returned(schema: Any, written: dict[str, str], args: Any, kwargs: Any) -> Any:
    """What a call that writes returns: what it was to write, as it is."""
    names = [a.name for a in schema.arguments]
    given = dict(zip(names, args, strict=False)) | kwargs
    found = [given[written[next(iter(r.alias_info.before_set))]] for r in schema.returns]
    return None if not found else found[0] if len(found) == 1 else tuple(found)


class _Generator:
    """The device's generator, which a recording that fails leaves of no use."""

    def __init__(self) -> None:
        self.broken = False

    def clone_state(self) -> bool:
        return self.broken

    def graphsafe_set_state(self, state: bool) -> None:
        self.broken = state


class FakeCuda:
    """All that is faked; `install` puts it in torch's place.

    Attributes:
        graphs: all that were made.
        generator: the device's.
        stream: the current one.
    """

    def __init__(self) -> None:
        self.graphs: list[FakeGraph] = []
        self.generator = _Generator()
        self.stream = "of the user"
        self.capturing = False

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
        made = type("CUDAGraph", (FakeGraph,), {"made": self.graphs})
        fakes: dict[str, Any] = {
            "CUDAGraph": made,
            "graph": lambda graph: _Capture(self, graph),
            "synchronize": self._waits(lambda: None),
            "is_initialized": lambda: True,
            "is_current_stream_capturing": lambda: self.capturing,
            "get_rng_state": self._waits(torch.get_rng_state),
            "set_rng_state": self._waits(torch.set_rng_state),
            "current_stream": lambda: self.stream,
            "set_stream": lambda stream: setattr(self, "stream", stream),
            "current_device": lambda: 0,
            "default_generators": (self.generator,),
        }
        for name, value in fakes.items():
            monkeypatch.setattr(torch.cuda, name, value)
        # of the subclass in Python: tensors in C++ have an attribute of the same name below it
        monkeypatch.setattr(Tensor, "is_cuda", property(lambda tensor: True), raising=False)
        return self

    def _waits(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def waiting(*args: Any) -> Any:
            if self.capturing:
                raise Refused(NOT_PERMITTED)
            return function(*args)

        return waiting


class _Capture:
    """`torch.cuda.graph(graph)`."""

    def __init__(self, cuda: FakeCuda, graph: FakeGraph) -> None:
        self.cuda = cuda
        self.modes = _OnHost(), _OnDevice(graph)

    def __enter__(self) -> None:
        self.noise = torch.get_rng_state()
        self.cuda.capturing, self.cuda.stream = True, "of the recording"
        self.cuda.generator.broken = True
        for mode in self.modes:
            mode.__enter__()

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        for mode in reversed(self.modes):
            mode.__exit__(None, None, None)
        torch.set_rng_state(self.noise)  # a recording draws nothing
        self.cuda.capturing = False
        if error is not None:
            raise RuntimeError("operation failed due to a previous error during capture")
        self.cuda.generator.broken, self.cuda.stream = False, "of the user"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    yield FakeCuda().install(monkeypatch)
