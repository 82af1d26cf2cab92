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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyro_vae.programs.calls import first_line

# calls with inputs of one shape before they are recorded; the engine compares at calls 2 and 9
_WARM_UP = 11


class Recording(NamedTuple):
    """A step as a CUDA graph: what it takes for granted, and the tensors that it reads and
    writes.
    """

    granted: Any
    graph: Any
    inputs: list[Tensor]
    loss: Tensor

    def replay(self, tensors: tuple[Tensor, ...]) -> Tensor:
        """The loss of a step on these inputs."""
        for mine, tensor in zip(self.inputs, tensors, strict=True):
            mine.copy_(tensor)
        self.graph.replay()
        return self.loss


class Replayed:
    """`step(*tensors)`, a loss, as a CUDA graph for each set of input shapes.

    Args:
        step: runs as it is at first.
        record: the same step, as it is recorded: it may not wait for the device.
        granted: what the recordings take for granted of the host (hyperparameters, addresses);
            another value makes all of them void, None means that there can be none.
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
        self._recorded: dict[Any, Recording] = {}
        self._failed = False

    def __call__(self, *tensors: Tensor) -> Tensor:
        """The loss, on the device; its memory is written again by the next call."""
        key = tuple((t.shape, t.dtype, t.device) for t in tensors)
        granted = None if self._failed else self.granted()
        self._forget_others(granted)

        self._calls[key] += 1
        if granted is None or self._calls[key] <= _WARM_UP:
            return self.step(*tensors)

        self.refresh()
        if key not in self._recorded:
            try:
                self._recorded[key] = self._record(granted, tensors)
            except Exception as error:  # whatever the recording meets: the step itself is sound
                self._failed = True
                # torch's own, at the end of a recording that failed, has the reason as its context
                context = error.__context__
                reason = first_line(context if isinstance(context, Exception) else error)
                warnings.warn(f"the step is not recorded as a CUDA graph: {reason}", stacklevel=2)
                return self.step(*tensors)
        return self._recorded[key].replay(tensors)

    def _forget_others(self, granted: Any) -> None:
        """Drop what was recorded under other circumstances, of all sizes: by the next step of
        another size they may look the same again, and not be.
        """
        if any(recording.granted != granted for recording in self._recorded.values()):
            self._recorded.clear()
            self._calls.clear()

    def _record(self, granted: Any, tensors: tuple[Tensor, ...]) -> Recording:
        inputs = [t.clone() for t in tensors]
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with _undone_if_it_fails(), torch.cuda.graph(graph):  # records and runs nothing
            loss = self.record(*inputs)
        return Recording(granted, graph, inputs, loss)


@contextmanager
def _undone_if_it_fails() -> Iterator[None]:
    """Put stream and noise back after a recording that fails.

    Torch leaves the stream of the recording as the current one then, and the device's generator as
    it is in a recording: no noise could be drawn from it any more.
    """
    stream = torch.cuda.current_stream()
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    before = generator.clone_state()
    try:
        yield
    except Exception:
        torch.cuda.set_stream(stream)
        generator.graphsafe_set_state(before)
        raise
