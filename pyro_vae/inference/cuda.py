"""A training step as one CUDA graph: binarisation, loss, gradients and the fused optimizer in a single launch.

A compiled step is some dozens of kernels, each launched by Python, and a small network is done with them sooner than they
are launched. A CUDA graph records the launches once and replays them. It reads and writes the memory of the recording, so:

* inputs are copied into buffers of its own, and the loss is read from one;
* what changes from step to step without being an input (the learning rate, beta) lives in tensors on the device;
* random numbers go on from where the device's generator stands: torch registers it with the graph;
* nothing on the way may wait for the device, so the first calls, which compile, make the optimizer's state and compare with
  stock SVI, run as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_WARM_UP = 11  # calls with inputs of one shape before they are recorded: the engine compares at calls 2, 3, 5 and 9


class Replayed:
    """`step(*tensors)`, a loss, as a CUDA graph for each set of input shapes.

    Args:
        step: runs as it is at first.
        record: the same step, as it is recorded: it may not wait for the device.
        ready: whether all that `step` reads from the host is settled, so that a recording holds; False clears all of them.
        refresh: writes what may have changed on the host (the learning rate) to the device, before each replay.
    """

    def __init__(
        self,
        step: Callable[..., Tensor],
        record: Callable[..., Tensor],
        ready: Callable[[], bool],
        refresh: Callable[[], None],
    ) -> None:
        self.step, self.record, self.ready, self.refresh = step, record, ready, refresh
        self._calls: Counter[Any] = Counter()
        self._recorded: dict[Any, tuple[Any, list[Tensor], Tensor]] = {}

    def __call__(self, *tensors: Tensor) -> Tensor:
        """The loss, on the device; its memory is written again by the next call."""
        key = tuple((t.shape, t.dtype, t.device) for t in tensors)
        self._calls[key] += 1
        if not self.ready():
            self._recorded.clear()
            self._calls.clear()
            return self.step(*tensors)
        if self._calls[key] <= _WARM_UP:
            return self.step(*tensors)
        if key not in self._recorded:
            self._recorded[key] = self._record(tensors)
        graph, inputs, loss = self._recorded[key]
        self.refresh()
        for mine, tensor in zip(inputs, tensors, strict=True):
            mine.copy_(tensor)
        graph.replay()
        return loss

    def _record(self, tensors: tuple[Tensor, ...]) -> tuple[Any, list[Tensor], Tensor]:
        inputs = [t.clone() for t in tensors]
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):  # records and runs nothing
            loss = self.record(*inputs)
        return graph, inputs, loss
