"""What can be reached from some programs, as far as a graph that was captured from them may depend on it.

From a function: its closure, its defaults and attributes, the globals that its code names, and what it imports. From an
object: its attributes, slots included, and its class: the attributes and all functions of each class that it derives from.
From a container: its items. From a module of the user's: the attributes that any of the code names.

The code of the libraries (torch, Pyro, NumPy, the standard library, this package) is taken as it stands: their classes,
modules and the globals of their functions are not looked at; the attributes of their objects are.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from functools import partial
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vae.graphs.names import names_in

PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size)
_CLOSED = (BuiltinFunctionType, CodeType, Tensor, torch.Generator, *PLAIN)  # nothing to look for inside
_PACKAGE = __name__.partition(".")[0]
_LIBRARIES = {"torch", "torchvision", "functorch", "pyro", "pyroapi", "numpy", "scipy", "zuko", _PACKAGE}
_LIBRARIES |= sys.stdlib_module_names
_APART = (  # objects that run programs, or tell of them: no part of what they run
    *("logging", "torch.optim", "torch.utils.tensorboard", "pyro.optim", "pyro.infer.svi"),
    *(f"{_PACKAGE}.graphs", f"{_PACKAGE}.inference"),
)
_LONGEST = 4096  # items of a container, and bytes of an array, that can be compared before each step
_MOST = 50_000  # of all together


class Reach:
    """Everything that can be reached from some programs, in an order that follows from how they are built.

    Attributes:
        modules: all `nn.Module`s, submodules included.
        dicts: attributes of objects and of classes, and dicts, with their items.
        named: dicts in which some names are looked up, each with the name and the value.
        attributes: slots and cells of closures, in the same way.
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
        if id(item) in self.numbers or isinstance(item, _CLOSED):
            return
        self.numbers[id(item)] = len(self.numbers)
        self._met.append(item)  # an id is one object's as long as the object lives
        if isinstance(item, ModuleType):
            if not is_library(item.__name__):
                self._namespaces[id(item)] = item
        elif isinstance(item, type):
            self._class(item)
        elif isinstance(item, FunctionType):
            self._function(item)
        elif isinstance(item, MethodType):
            self._todo += [item.__self__, item.__func__]
        elif isinstance(item, partial):
            self.fixed += [item.func, *item.args]
            self._todo += [item.func, *item.args, item.keywords, vars(item)]
        elif isinstance(item, (property, staticmethod, classmethod)):
            parts = ("fget", "fset", "__func__")
            self._todo += [getattr(item, part) for part in parts if hasattr(item, part)]
        elif isinstance(item, (dict, MappingProxyType, list, tuple, deque, set, frozenset)):
            self._container(item)
        else:
            self._object(item)

    def _container(self, item: Any) -> None:
        """The items of a container, if they are not too many to be compared before each step."""
        if not self._has_room(item, len(item)):
            return
        if isinstance(item, (dict, MappingProxyType)):
            held = dict(item)
            self.dicts.append((item, held))
            self._todo += held.values()
        elif isinstance(item, (list, deque)):
            self.lists.append((item, tuple(item)))
            self._todo += item
        else:
            if isinstance(item, set):
                self.sets.append((item, frozenset(item)))
            self.fixed += item if isinstance(item, tuple) else [item]
            self._todo += item

    def _object(self, item: Any) -> None:
        kind = type(item)
        if str(kind.__module__).startswith(_APART):
            return
        if isinstance(item, nn.Module):
            self.modules.append(item)
        if hasattr(item, "__dict__"):
            self._todo.append(vars(item))
        slots = [n for c in kind.__mro__ if "__slots__" in vars(c) for n in vars(c) if _is_slot(vars(c)[n])]
        for name in slots:
            if hasattr(item, name):
                self._attribute(item, name)
        if not hasattr(item, "__dict__") and not slots:
            self._stranger(item)
        self._class(kind)

    def _stranger(self, item: Any) -> None:
        """An object of no Python class: numbers in a row of bytes, or an iterator."""
        if isinstance(item, Iterator):
            self.unseen.append(f"a {type(item).__name__}, which gives another value each time")
            return
        try:
            view = memoryview(item)
        except (TypeError, ValueError):  # it is compared by its identity
            return
        if self._has_room(item, view.nbytes, len(view.shape or ())):
            self.arrays.append((item, view.tobytes()))

    def _has_room(self, item: Any, size: int, dims: int = 0) -> bool:
        self._size += size
        if size <= _LONGEST and self._size <= _MOST:
            return True
        what = f"a {type(item).__name__} of {size} {'bytes' if dims else 'items'}"
        self.unseen.append(f"{what}, too many to compare before each step: keep them in a tensor")
        return False

    def _class(self, kind: type) -> None:
        """The attributes of a class of the user's and of all that it derives from, and their functions."""
        for base in kind.__mro__:
            if is_library(base.__module__) or (id(base), "") in self._looked_up:
                continue
            self._looked_up.add((id(base), ""))
            held = dict(vars(base))
            self.dicts.append((vars(base), held))
            self._todo += [v for n, v in held.items() if isinstance(v, FunctionType) or not n.startswith("__")]

    def _function(self, function: FunctionType) -> None:
        """What a function finds by name; of a library's, what it was given."""
        for cell in function.__closure__ or ():
            if _is_filled(cell):
                self._attribute(cell, "cell_contents")
        self.fixed.append(function.__defaults__)
        self._todo += [function.__defaults__, function.__kwdefaults__, vars(function)]
        if is_library(function.__module__):
            return
        names = names_in(function.__code__)
        self._names.update(names.attributes)
        self._look_up(function.__globals__, [name for name in names.variables if name in function.__globals__])
        package = function.__globals__.get("__package__") or ""
        imported = [sys.modules.get(name) or sys.modules.get(f"{package}.{name}") for name in names.imports]
        self._todo += [module for module in imported if module is not None]

    def _look_up(self, where: dict[str, Any], names: list[str]) -> None:
        for name in names:
            if (id(where), name) not in self._looked_up:
                self._looked_up.add((id(where), name))
                self.named.append((where, name, where[name]))
                self._todo.append(where[name])

    def _attribute(self, item: Any, name: str) -> None:
        value = getattr(item, name)
        self.attributes.append((item, name, value))
        self._todo.append(value)


def is_library(module: str | None) -> bool:
    """Whether code of this module is taken as it stands."""
    return str(module).partition(".")[0] in _LIBRARIES


def _is_slot(value: Any) -> bool:
    return isinstance(value, MemberDescriptorType)


def _is_filled(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
