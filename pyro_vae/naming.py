"""A name per instance for `pyro.module`.

Pyro's parameter store is one global dictionary, and `pyro.module("decoder", net)` with a name that is there already
silently trains the *old* net. So each live module of the package gets a name of its own, deep copies included.
"""

from __future__ import annotations

import itertools
from weakref import WeakKeyDictionary

from torch import nn

_names: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()
_counter = itertools.count(1)


def unique_name(module: nn.Module) -> str:
    """Return the name of this very instance, such as `VAE_1`, the same at each call."""
    if module not in _names:
        _names[module] = f"{type(module).__name__}_{next(_counter)}"
    return _names[module]
