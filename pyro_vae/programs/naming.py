"""A name per instance for `pyro.module`.

Pyro's parameter store is one global dictionary, and `pyro.module("decoder", net)` with a name that
is there already silently trains the *old* net. So each live module of the package gets a name of
its own, deep copies included. What the store holds under that name lives as long as the module: it
goes when the module does, so that a thousand fits leave no more behind than one.
"""

from __future__ import annotations

import itertools
import weakref
from weakref import WeakKeyDictionary

import pyro
from torch import nn

_names: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()
_counter = itertools.count(1)


def unique_name(module: nn.Module) -> str:
    """Return the name of this very instance, such as `VAE_1`, the same at each call."""
    if module not in _names:
        name = _names[module] = f"{type(module).__name__}_{next(_counter)}"
        weakref.finalize(module, _forget, name).atexit = False
    return _names[module]


def _forget(name: str) -> None:
    """Take the parameters of a module that is no more out of Pyro's store."""
    store = pyro.get_param_store()
    for key in [key for key in list(store._params) if key.startswith(f"{name}$$$")]:
        # `del` trips over a parameter that has two names, as that of a shared net has
        value = store._params.pop(key)
        store._param_to_name.pop(value, None)
        store._constraints.pop(key, None)
