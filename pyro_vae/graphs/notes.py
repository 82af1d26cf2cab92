"""What a capture notes of each value on its way: shape, strides, type and device.

`make_fx` notes an empty tensor like the value, made by a fake mode: one mode for each value unless
it is given one, and with one mode it still takes a fifth of a capture. A mode that is entered and
makes nothing, and a note in place of the tensor, cost next to nothing. A version of torch that asks
the mode for something else gets what any fake mode gives.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode


class Noted(NamedTuple):
    """What a node's `meta["val"]` tells of the value that it stands for."""

    shape: torch.Size
    strides: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def is_contiguous(self) -> bool:
        """Whether the value was."""
        return torch.empty_strided(self.shape, self.strides, device="meta").is_contiguous()


class _Notes(TorchFunctionMode):
    """Gives a note in place of each empty tensor."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.empty_strided:
            return Noted(*args, **kwargs)
        return func(*args, **(kwargs or {}))


def notes() -> AbstractContextManager[Any]:
    """Let `make_fx` take notes."""
    guards = import_module("torch._guards")
    return guards.tracing(guards.TracingContext(_note_taker()(allow_fallback_kernels=True)))


@cache
def _note_taker() -> type[Any]:
    """The class of a fake mode that does nothing, where it is entered, but to let notes be given.

    An operation is noted while the modes that have seen it are set aside, so that this one must be
    entered each time.
    """
    mode = _Notes()

    def enter(taker: Any) -> Any:
        mode.__enter__()
        return taker

    def leave(taker: Any, *error: Any) -> None:
        mode.__exit__(*error)

    known = import_module("torch._subclasses.fake_tensor").FakeTensorMode
    return type("NoteTaker", (known,), {"__enter__": enter, "__exit__": leave})
