"""What a loss or a schedule was made with, in plain words: what a run that goes on is held to.

`Bound(5)` and `Bound(50)` are of one class and not the same objective. So the settings of an object are compared, which are
its public attributes: numbers, strings, tensors, functions by their code, and collections of these. They are read before
the first step, so that what an object counts while it trains is no setting.
"""

from __future__ import annotations

from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

import torch
from pyro.infer import ELBO
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from pyro_vae.data import fingerprint

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)
_FOUND = ("max_plate_nesting", "optimizer")  # the first is guessed in the first step, the other is compared by itself
_PARTS = ("_schedulers", "_milestones")  # of torch's SequentialLR and ChainedScheduler
_DEEPEST = 4


def settings_of(thing: Any) -> dict[str, str]:
    """The settings of a loss or a schedule, by name.

    Example:
        >>> from pyro_vae.objectives import FreeBits
        >>> settings_of(FreeBits(0.25))["nats"]
        '0.25'
    """
    return {name: _told(value, _DEEPEST) for name, value in _public(thing).items()}


def difference(begun: dict[str, str], now: dict[str, str]) -> tuple[str, str] | None:
    """What differs, as it was and as it is; None where all that both of them know is the same.

    Example:
        >>> difference({"nats": "0.1", "older": "1"}, {"nats": "3.0"})
        ('nats=0.1', 'nats=3.0')
    """
    names = [name for name in begun if name in now and begun[name] != now[name]]
    if not names:
        return None
    was, got = (", ".join(f"{name}={told[name]}" for name in names) for told in (begun, now))
    return was, got


def _public(thing: Any) -> dict[str, Any]:
    """Attributes without an underscore, and what a schedule is composed of."""
    attributes = getattr(thing, "__dict__", {})
    parts = _PARTS if isinstance(thing, LRScheduler) else ()
    return {
        name: value
        for name, value in attributes.items()
        if (name in parts or not name.startswith("_")) and name not in _FOUND
    }


def _told(value: Any, depth: int) -> str:
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {fingerprint(value)}"
    if depth == 0:
        return type(value).__name__
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_told(part, depth - 1) for part in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_told(part, depth - 1)}' for name, part in value.items())}}}"
    if isinstance(value, partial):
        return _told([value.func, list(value.args), value.keywords], depth - 1)
    if isinstance(value, (FunctionType, MethodType)):
        return f"{value.__qualname__} {_constants(value.__code__)}"
    if isinstance(value, (ELBO, LRScheduler)):
        return f"{type(value).__name__} {_told(_public(value), depth - 1)}"
    return type(value).__name__


def _constants(code: CodeType) -> list[str]:
    return [repr(constant) for constant in code.co_consts if isinstance(constant, _PLAIN)]
