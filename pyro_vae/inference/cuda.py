"""A training step as one CUDA graph: binarisation, loss, gradients and the fused optimizer in a
single launch.

A compiled step is some dozens of kernels, each launched by Python, and a small network is done with
them sooner than they are launched. A CUDA graph records the launches once and replays them. It
reads and writes the memory of the recording, so:

* inputs are copied into buffers of its own, and the loss is read from one;
* what changes from step to step without being an input (the learning rate, beta) lives in tensors
  on the device;
* random numbers go on from where the device's generator stands: torch registers it with the graph;
* nothing on the way may wait for the device, so the first calls, which compile, make the
  optimizer's state and compare with Pyro, run as they are; a recorded step is compared no more.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pyro_vae.programs.calls import first_line

# calls with inputs of one shape before they are recorded; the engine compares at calls 2 and 9
_WARM_UP = 11


class Replayed:
    """`step(*tensors)`, a loss, as a CUDA graph for each set of input shapes.

    Args:
        step: runs as it is at first.
        record: the same step, as it is recorded: it may not wait for the device.
        granted: what a recording takes for granted of the host (hyperparameters, addresses);
            another value makes a recording void, None means that there can be none.
        refresh: writes what may have changed on the host (the learning rate) to the device, before
            each replay.
    """

    def __init__(
        self,
        step: Callable[..., Tensor],
        record: Callable[..., Tensor],
        granted: Callable[[], Any],
        refresh: Callable[[], None],
    ) -> None:
        self.step, self.record, self.granted, self.refresh = step, record, granted, refresh
        self._calls: Counter[Any] = Counter()
        self._recorded: dict[Any, tuple[Any, Any, list[Tensor], Tensor]] = {}
        self._failed = False

    def __call__(self, *tensors: Tensor) -> Tensor:
        """The loss, on the device; its memory is written again by the next call."""
        key = tuple((t.shape, t.dtype, t.device) for t in tensors)
        granted = None if self._failed else self.granted()
        if key in self._recorded and self._recorded[key][0] != granted:
            del self._recorded[key]
            self._calls[key] = 0

        self._calls[key] += 1
        if granted is None or self._calls[key] <= _WARM_UP:
            return self.step(*tensors)

        self.refresh()
        if key not in self._recorded:
            try:
                self._recorded[key] = (granted, *self._record(tensors))
            except Exception as error:  # whatever the recording meets: the step itself is sound
                self._failed = True
                reason = first_line(error)
                warnings.warn(f"the step is not recorded as a CUDA graph: {reason}", stacklevel=2)
                return self.step(*tensors)

        _, graph, inputs, loss = self._recorded[key]
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
