"""What can be reached from some programs, as far as a graph captured from them may depend on it.

From a function: its closure, its defaults and attributes, the globals that its code names, and what
it imports. From an object: its attributes, slots included, and its class: the attributes and all
functions of each class that it derives from, and of their metaclasses. From a container: its items.
From a module of the user's: the attributes that any of the code names. From a method of a built-in
class: its object. From a weak reference: its referent, which is kept alive.

What holds more than can be compared before each step is `unseen`, but it is walked through all the
same, so that a program's modules are found whatever lies beside them.

The code of libraries (`libraries.py`: torch, Pyro, NumPy, the standard library, this package, test
runners and notebooks, ...) is taken as it stands: their classes, modules and the globals of their
functions are not looked at; the attributes of their objects are.
"""

from __future__ import annotations

import sys
from collections import defaultdict, deque
from collections.abc import Iterator
from functools import partial
from itertools import chain
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MappingProxyType,
    MethodType,
    MethodWrapperType,
    ModuleType,
)
from typing import Any
from weakref import CallableProxyType, ProxyType, ReferenceType

import torch
from torch import Tensor, nn

from pyro_vae.graphs.libraries import is_apart, is_library
from pyro_vae.graphs.names import imported_by, names_in
from pyro_vae.graphs.objects import is_filled, referent, slots_of

__all__ = ["MISSING", "PLAIN", "PROXIES", "Reach", "is_library"]

PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size)
MISSING = object()  # the value of what is not there
# objects with nothing inside, unless their class is the user's
_CLOSED = (CodeType, Tensor, torch.Generator, *PLAIN)
_CLOSED_TYPES = frozenset((*_CLOSED, nn.Parameter))
PROXIES = (ProxyType, CallableProxyType)
_DICTS = (dict, MappingProxyType)
_CONTAINERS = (*_DICTS, list, tuple, deque, set, frozenset)
_BARE = frozenset(_CONTAINERS) - {MappingProxyType}
_DESCRIPTORS = (property, staticmethod, classmethod)
_BUILT_IN = (partial, *_DESCRIPTORS, ReferenceType, *_CONTAINERS, *_CLOSED)
# items of a container, and bytes of an array, that can be compared before each step
_LONGEST = 4096
_MOST = 50_000  # of all together


class Reach:
    """Everything that can be reached from some programs, in an order that depends only on how they
    are built.

    Attributes:
        modules: all `nn.Module`s, submodules included.
        dicts: attributes of objects and of classes, and dicts, with their items.
        named: dicts in which some names are looked up, each with the name and the value.
        attributes: owners of slots, closures' cells and dicts' factories, each with the name and
            the value.
        lists: lists and deques, with their items.
        sets: sets, with their items.
        arrays: what holds plain bytes, with these.
        fixed: items of what cannot change.
        numbers: by id, when each object was met.
        unseen: what cannot be compared before each step, in words.
    """

    def __init__(self, programs: tuple[Any, ...]) -> None:
        self.modules: list[nn.Module] = []
        self.dicts: list[tuple[Any, dict[Any, Any]]] = []
        self.named: list[tuple[dict[str, Any], str, Any]] = []
        self.attributes: list[tuple[Any, str, Any]] = []
        self.lists: list[tuple[Any, tuple[Any, ...]]] = []
        self.sets: list[tuple[set[Any], frozenset[Any]]] = []
        self.arrays: list[tuple[Any, bytes]] = []
        self.fixed: list[Any] = []
        self.numbers: dict[int, int] = {}
        self.unseen: list[str] = []

        self._met: list[Any] = []
        self._size = 0
        self._names: set[str] = set()
        self._looked_up: set[tuple[int, str]] = set()
        self._namespaces: dict[int, ModuleType] = {}
        self._todo: list[Any] = list(programs)

        self._walk()

    def _walk(self) -> None:
        while self._todo:
            while self._todo:
                self._visit(self._todo.pop())
            for module in list(self._namespaces.values()):
                self._look_up(vars(module), sorted(self._names & vars(module).keys()))

    def _visit(self, item: Any) -> None:
        kind = type(item)
        if kind in _CLOSED_TYPES or id(item) in self.numbers:
            return
        if kind in PROXIES:
            self._todo += referent(item)
            return
        if isinstance(item, _CLOSED) and is_library(kind.__module__):
            return

        self.numbers[id(item)] = len(self.numbers)
        self._met.append(item)  # an id is one object's as long as the object lives

        if isinstance(item, (ModuleType, type)):
            self._namespace(item)
        elif isinstance(item, FunctionType):
            self._function(item)
        elif isinstance(item, MethodType):
            self._todo += [item.__self__, item.__func__]
        elif isinstance(item, (BuiltinFunctionType, MethodWrapperType)):
            self._todo.append(item.__self__)
        elif isinstance(item, _BUILT_IN):
            self._built_in(item)
        else:
            self._object(item)

    def _namespace(self, item: ModuleType | type) -> None:
        if isinstance(item, type):
            self._class(item)
        elif not is_library(item.__name__):
            self._namespaces[id(item)] = item
        self._class(type(item))

    def _built_in(self, item: Any) -> None:
        """What an object of a built-in class holds, and what a user's class has added to it."""
        if isinstance(item, partial):
            self.fixed += [item.func, *item.args]
            self._todo += [item.func, *item.args, item.keywords, vars(item)]
        elif isinstance(item, _DESCRIPTORS):
            parts = ("fget", "fset", "__func__")
            self._todo += [getattr(item, part) for part in parts if hasattr(item, part)]
        elif isinstance(item, ReferenceType):
            target = item()
            self._met.append(target)
            self._todo.append(target)
        elif isinstance(item, _CONTAINERS):
            self._container(item)

        if getattr(item, "__dict__", None) or not is_library(type(item).__module__):
            self._attributes(item)

    def _container(self, item: Any) -> None:
        """The items of a container, to be compared before each step if they are not too many."""
        if isinstance(item, defaultdict):
            self._attribute(item, "default_factory")

        held = item
        if isinstance(item, _DICTS):
            held = dict(dict.items(item) if isinstance(item, dict) else item)
        if not self._has_room(item, len(held)):
            self._todo += _contents(held)
            return

        if isinstance(item, _DICTS):
            self.dicts.append((item, held))
            self._todo += (*held, *held.values())
            return

        if isinstance(item, (list, deque)):
            self.lists.append((item, tuple(item)))
        else:
            if isinstance(item, set):
                self.sets.append((item, frozenset(item)))
            self.fixed += item if isinstance(item, tuple) else [item]
        self._todo += item

    def _object(self, item: Any) -> None:
        if is_apart(type(item).__module__):
            return
        if isinstance(item, nn.Module):
            self.modules.append(item)
        self._attributes(item)
        self._bytes(item)

    def _attributes(self, item: Any) -> None:
        kind = type(item)
        if hasattr(item, "__dict__"):
            self._todo.append(vars(item))

        slots = slots_of(kind)
        for name in slots:
            if hasattr(item, name):
                self._attribute(item, name)

        if isinstance(item, Iterator) and not hasattr(item, "__dict__") and not slots:
            self.unseen.append(f"a {kind.__name__}, which gives another value each time")
        self._class(kind)

    def _bytes(self, item: Any) -> None:
        """What an object holds as plain bytes, such as an array."""
        try:
            view = memoryview(item)
        except (TypeError, ValueError):  # it is compared by its identity
            return
        if self._has_room(item, view.nbytes, len(view.shape or ())):
            self.arrays.append((item, view.tobytes()))

    def _has_room(self, item: Any, size: int, dims: int = 0) -> bool:
        if size <= _LONGEST and self._size + size <= _MOST:
            self._size += size
            return True
        what = f"a {type(item).__name__} of {size} {'bytes' if dims else 'items'}"
        self.unseen.append(f"{what}, too many to compare before each step: keep them in a tensor")
        return False

    def _class(self, kind: type) -> None:
        """The attributes and functions of a class of the user's and of all that it derives from."""
        for base in kind.__mro__:
            if is_library(base.__module__) or (id(base), "") in self._looked_up:
                continue
            self._looked_up.add((id(base), ""))

            held = dict(vars(base))
            self.dicts.append((vars(base), held))
            for name, value in held.items():
                if isinstance(value, FunctionType) or not name.startswith("__"):
                    self._todo.append(value)
            self._class(type(base))

    def _function(self, function: FunctionType) -> None:
        """What a function finds by name; only what it was given, if it is a library's."""
        for cell in function.__closure__ or ():
            if is_filled(cell):
                self._attribute(cell, "cell_contents")
        self.fixed.append(function.__defaults__)
        self._todo += [function.__defaults__, function.__kwdefaults__, vars(function)]
        if is_library(function.__module__):
            return

        names, variables = names_in(function.__code__), function.__globals__
        self._names.update(names.attributes)
        self._look_up(variables, [name for name in names.variables if name in variables])

        imported: dict[str, None] = {}
        for name in names.imports:
            imported |= dict.fromkeys(imported_by(name, variables))
        self._look_up(sys.modules, [name for name in imported if not is_library(name)])

    def _look_up(self, where: dict[str, Any], names: list[str]) -> None:
        for name in names:
            if (id(where), name) not in self._looked_up:
                self._looked_up.add((id(where), name))
                self.named.append((where, name, where.get(name, MISSING)))
                self._todo.append(where.get(name))

    def _attribute(self, item: Any, name: str) -> None:
        value = getattr(item, name)
        self.attributes.append((item, name, value))
        self._todo.append(value)


def _contents(container: Any) -> Iterator[Any]:
    """What a large container holds, and the containers in it, other than plain values."""
    met, todo = {id(container)}, [container]
    while todo:
        container = todo.pop()
        is_dict = isinstance(container, dict)
        for value in chain(container, container.values()) if is_dict else container:
            if type(value) in _CLOSED_TYPES or id(value) in met:
                continue

            if type(value) in _BARE:
                met.add(id(value))
                todo.append(value)
            else:
                yield value
