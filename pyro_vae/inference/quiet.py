"""Contexts in which programs run so that what they do to tensors can be recorded."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import pyro
import torch
from torch import Tensor


@contextmanager
def quietly() -> Iterator[None]:
    """No validation and no checks for NaN, since both look at values, and no warnings."""
    modules = [
        m
        for name, m in sys.modules.items()
        if name.startswith("pyro.infer") and hasattr(m, "warn_if_nan")
    ]
    with ExitStack() as stack:
        stack.enter_context(pyro.validation_enabled(False))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for module in modules:
            stack.enter_context(
                mock.patch.object(module, "warn_if_nan", lambda value, *_, **__: value)
            )
        distribution = torch.distributions.Distribution  # some were made while validation was on
        stack.enter_context(mock.patch.object(distribution, "_validate_sample", lambda *_: None))
        yield


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
