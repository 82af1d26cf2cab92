"""Contexts in which programs run so that what they do to tensors can be recorded."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from threading import Lock
from typing import Any

import pyro
import torch
from torch import Tensor

_QUIET: ContextVar[bool] = ContextVar("quiet", default=False)
_LOCK = Lock()
_users = 0
_checks: list[tuple[Any, str, Callable[..., Any]]] = []  # that ask `_QUIET`, as they were before


@contextmanager
def quietly() -> Iterator[None]:
    """No validation and no checks for NaN, since both look at values, and no warnings.

    Two of these checks have no switch: Pyro's for NaN, and that of distributions which were made
    while validation was on. So meanwhile they ask for one, that of their own thread: what other
    threads run is checked as ever.
    """
    _switch(+1)
    token = _QUIET.set(True)
    try:
        with pyro.validation_enabled(False), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        _QUIET.reset(token)
        _switch(-1)


def _switch(users: int) -> None:
    """Let the checks ask as long as anybody is quiet, and put them back then."""
    global _users
    with _LOCK:
        if _users == 0:
            modules = [m for name, m in sys.modules.items() if name.startswith("pyro.infer")]
            for module in modules:
                if hasattr(module, "warn_if_nan"):
                    _ask(module, "warn_if_nan")
            _ask(torch.distributions.Distribution, "_validate_sample")

        _users += users
        while _users == 0 and _checks:
            setattr(*_checks.pop())


def _ask(owner: Any, name: str) -> None:
    check = getattr(owner, name)

    @wraps(check)
    def unless_quiet(value: Any, *args: Any, **kwargs: Any) -> Any:
        return value if _QUIET.get() else check(value, *args, **kwargs)

    _checks.append((owner, name, check))
    setattr(owner, name, unless_quiet)


@contextmanager
def own_gradients(params: Iterable[Tensor]) -> Iterator[None]:
    """Gradients start from none, and those that were there are put back."""
    before = {p: p.grad for p in params}
    for p in before:
        p.grad = None
    try:
        yield
    finally:
        for p, gradient in before.items():
            p.grad = gradient
