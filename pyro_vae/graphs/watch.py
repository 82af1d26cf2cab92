"""Watch: what a graph took for granted about the programs that it was captured from.

A graph holds the path that the Python code took. A module that goes from training to evaluation, a
weight that is frozen, moved, cast or replaced, a hook, an attribute or a global that is set to
another value may lead to another path. So everything that can be reached from the programs
(`Reach`) is compared before each call, by identity and without a loop in Python. A change leads to
a graph of its own.

Where something cannot be compared (`Watch.unseen`: an iterator, a container of thousands of items),
no graph is to be trusted. What is *not* seen: values from a file, a clock, a `ContextVar`, or a
random generator that is not torch's; names made up at run time (`globals()[name]`); attributes that
a user has set on a tensor; what an extension type hides; and changes to the code of the libraries.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from itertools import chain, repeat
from operator import is_
from types import FunctionType, MappingProxyType, ModuleType
from typing import Any

from torch import Tensor, nn

from pyro_vae.graphs.reach import MISSING, PLAIN, PROXIES, Reach

_CONTAINERS = (dict, MappingProxyType, list, tuple, deque, set, frozenset, partial)


class Watch:
    """The state of some programs, as far as a captured graph may depend on it.

    Args:
        programs: modules, functions, Pyro handlers around them, objects that they use.

    Attributes:
        modules: all modules found, submodules included.
        unseen: what cannot be compared before each call, in words; empty where a graph may be
            trusted.
        key: hashable; equal keys mean that the same graph serves, as long as one of the watches is
            alive.
    """

    def __init__(self, *programs: Any) -> None:
        reach = self._reach = Reach(programs)
        self.modules: list[nn.Module] = reach.modules
        self.unseen: list[str] = reach.unseen
        self.key = _key(reach)

        plain = [(where, items) for where, items in reach.dicts if isinstance(where, dict)]
        views = [pair for pair in reach.dicts if isinstance(pair[0], MappingProxyType)]
        self._empty = [where for where, items in plain if not items]
        self._dicts = _Dicts([pair for pair in plain if pair[1]], dict)
        self._views = _Dicts(views, MappingProxyType)

        self._lists = [where for where, _ in reach.lists]
        self._lengths = [len(items) for _, items in reach.lists]
        self._items = list(chain.from_iterable(items for _, items in reach.lists))
        self._named = list(zip(*reach.named, strict=True)) or [(), (), ()]
        self._attributes = list(zip(*reach.attributes, strict=True)) or [(), (), ()]

    def changed(self) -> list[str]:
        """Names of the attributes and variables that have another value than they had."""
        reach = self._reach
        pairs = []
        for where, items in reach.dicts:
            pairs += [(n, where.get(n, MISSING), v) for n, v in items.items()]
        pairs += [(n, where.get(n, MISSING), v) for where, n, v in reach.named]
        pairs += [(n, _content(where, n), v) for where, n, v in reach.attributes]

        names = []
        for name, now, before in pairs:
            if _kind(now) != _kind(before):
                names.append(type(before).__name__ if name == "cell_contents" else str(name))
        return names

    def unchanged(self) -> bool:
        """Whether everything is as it was; may be False where an equal value was set anew.

        A tensor is compared by its identity alone: the holder of a graph compares the `facts` of
        the tensors that it reads.
        """
        wheres, names, values = self._named
        owners, slots, held = self._attributes

        try:
            return (
                not any(self._empty)
                and self._dicts.unchanged()
                and self._views.unchanged()
                and all(map(is_, map(dict.get, wheres, names, repeat(MISSING)), values))
                and all(map(is_, map(getattr, owners, slots, repeat(MISSING)), held))
                and list(map(len, self._lists)) == self._lengths
                and all(map(is_, chain.from_iterable(self._lists), self._items))
                and all(where == items for where, items in self._reach.sets)
                and all(memoryview(where).tobytes() == value for where, value in self._reach.arrays)
            )
        except (ValueError, TypeError, RuntimeError):
            # a cell that was emptied, keys that cannot be compared
            return False


class _Dicts:
    """Dicts, or views of dicts, and what is in them."""

    def __init__(self, dicts: list[tuple[Any, dict[Any, Any]]], kind: Any) -> None:
        self._kind = kind
        self._wheres = [where for where, _ in dicts]
        self._sizes = [len(items) for _, items in dicts]
        self._keys = list(chain.from_iterable(items for _, items in dicts))
        self._values = list(chain.from_iterable(items.values() for _, items in dicts))

    def unchanged(self) -> bool:
        values = chain.from_iterable(map(self._kind.values, self._wheres))
        return (
            list(map(len, self._wheres)) == self._sizes
            and all(map(is_, values, self._values))
            and list(chain.from_iterable(self._wheres)) == self._keys
        )


def facts(tensor: Tensor) -> tuple[Any, ...]:
    """What a graph takes for granted about a tensor that it reads."""
    return tensor.dtype, tensor.device, tensor.shape, tensor.stride(), tensor.requires_grad


def _key(reach: Reach) -> Any:
    """What a graph depends on: plain values, tensors by identity, how objects hold one another."""

    def token(value: Any) -> Any:
        apart = type(value) in PROXIES or isinstance(value, (ModuleType, type))
        number = None if apart else reach.numbers.get(id(value))
        return _kind(value) if number is None else (_kind(value), number)

    def tokens(values: Any) -> tuple[Any, ...]:
        return tuple(map(token, values))

    return (
        tuple((tokens(items), tokens(items.values())) for _, items in reach.dicts),
        tokens(value for _, _, value in reach.named),
        tokens(value for _, _, value in reach.attributes),
        tuple(tokens(items) for _, items in reach.lists),
        tuple(frozenset(tokens(items)) for _, items in reach.sets),
        tuple(value for _, value in reach.arrays),
        tokens(reach.fixed),
    )


def _kind(value: Any) -> Any:
    """A plain value; the identity of a tensor, or of what is not looked into; else the type."""
    if type(value) in PROXIES:  # it passes for its referent, or is an error
        return id(value)
    if isinstance(value, float):
        return type(value), value.hex()  # 0.0 is not -0.0, and NaN is NaN
    if isinstance(value, PLAIN):
        return type(value), value
    if isinstance(value, Tensor):
        return id(value), facts(value)
    if isinstance(value, FunctionType):
        return id(value.__code__)

    if isinstance(value, _CONTAINERS):
        return type(value)
    if isinstance(value, (type, ModuleType)) or not hasattr(value, "__dict__"):
        return id(value)
    return type(value)


def _content(where: Any, name: str) -> Any:
    try:
        return getattr(where, name, MISSING)
    except ValueError:  # an empty cell
        return MISSING
