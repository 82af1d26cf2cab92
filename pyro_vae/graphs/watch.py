"""Watch: what a graph took for granted about the programs that it was captured from.

A graph holds the path that the Python code took. A module that goes from training to evaluation, a weight that is frozen,
moved, cast or replaced, a hook, an attribute or a global that is set to another value may lead to another path. So
everything that can be reached from the programs is compared before each call: attributes of modules and of other objects,
items of lists and dicts, closures, and the globals that their code names. A change leads to a graph of its own. What is
*not* seen: values from a file, from a random generator that is not torch's, from inside an array or a library.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import chain
from operator import is_
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size)
_OPAQUE = (type, ModuleType, BuiltinFunctionType, CodeType, Tensor, *_PLAIN)  # nothing to look for inside
_LIBRARIES = ("torch.", "pyro.", "numpy.", "pyro_vae.naming")  # functions whose globals are their own affair
_MOST = 256  # items of a container that are looked at; a longer one is compared by its length


class Watch:
    """The state of some programs, as far as a captured graph may depend on it.

    Args:
        programs: modules, functions, Pyro handlers around them, objects that they use.

    Attributes:
        modules: all modules found, submodules included.
        key: hashable; equal keys mean that the same graph serves, as long as one of the watches is alive.
    """

    def __init__(self, *programs: Any) -> None:
        self.modules: list[nn.Module] = []
        self._dicts: list[tuple[dict[Any, Any], int | None, list[tuple[Any, Any]]]] = []
        self._lists: list[tuple[Any, tuple[Any, ...]]] = []
        self._cells: list[tuple[Any, Any]] = []
        self._walk(list(programs))
        values = [(name, value) for _, _, items in self._dicts for name, value in items]
        values += [("", value) for _, value in self._cells] + [("", v) for _, items in self._lists for v in items]
        self._empty = [where for where, size, _ in self._dicts if size == 0]
        self._whole = [where for where, size, items in self._dicts if size and items]
        self._long = [(where, size) for where, size, items in self._dicts if size and not items]
        self._named = [(where, items) for where, size, items in self._dicts if size is None]
        self._ids = list(map(id, chain.from_iterable(map(dict.values, self._whole))))
        sizes = tuple(len(where) for where, size, _ in self._dicts if size is not None)
        self.key = (sizes, tuple((name if isinstance(name, str) else "", _token(value)) for name, value in values))

    def changed(self) -> list[str]:
        """Names of the attributes and variables that have another value than they had."""
        names = [str(n) for where, _, items in self._dicts for n, v in items if _token(where.get(n)) != _token(v)]
        return names + [type(v).__name__ for cell, v in self._cells if _token(_content(cell)) != _token(v)]

    def unchanged(self) -> bool:
        """Whether everything is as it was; may be False where an equal value was set anew.

        A tensor is looked at for its identity alone: who holds a graph compares the `facts` of those that it reads.
        """
        return (
            not any(map(len, self._empty))
            and self._ids == list(map(id, chain.from_iterable(map(dict.values, self._whole))))
            and all(where.get(name) is value for where, items in self._named for name, value in items)
            and all(len(where) == size for where, size in self._long)
            and all(len(where) == len(items) and all(map(is_, where, items)) for where, items in self._lists)
            and all(_content(cell) is value for cell, value in self._cells)
        )

    def _walk(self, todo: list[Any]) -> None:
        """Look at everything that can be reached."""
        seen: set[int] = set()
        while todo:
            item = todo.pop()
            if id(item) in seen or isinstance(item, _OPAQUE):
                continue
            seen.add(id(item))
            if isinstance(item, FunctionType):
                todo += self._function(item)
            elif isinstance(item, MethodType):
                todo += [item.__self__, item.__func__]
            elif isinstance(item, partial):
                todo += [item.func, *item.args, item.keywords]
            elif isinstance(item, dict):
                todo += self._dict(item)
            elif isinstance(item, (list, tuple)):
                if len(item) <= _MOST:
                    self._lists.append((item, tuple(item)))
                    todo += item
            else:
                if isinstance(item, nn.Module):
                    self.modules.append(item)
                methods = [getattr(type(item), name, None) for name in ("forward", "__call__")]
                todo += [method for method in methods if isinstance(method, FunctionType)]
                todo += [vars(item)] if hasattr(item, "__dict__") else []

    def _dict(self, where: dict[Any, Any]) -> list[Any]:
        items = list(where.items()) if len(where) <= _MOST else []
        self._dicts.append((where, len(where), items))
        return [value for _, value in items]

    def _function(self, function: FunctionType) -> list[Any]:
        """What a function finds by name: closure, defaults, and globals, also those that its inner functions name."""
        cells = [(cell, _content(cell)) for cell in function.__closure__ or ()]
        self._cells += cells
        found = [value for _, value in cells] + [function.__defaults__, function.__kwdefaults__]
        found += [function.__wrapped__] if hasattr(function, "__wrapped__") else []
        if not f"{function.__module__}.".startswith(_LIBRARIES):
            where = function.__globals__
            items = [(n, where[n]) for n in dict.fromkeys(_names(function.__code__)) if n in where]
            items = [(n, v) for n, v in items if not isinstance(v, (ModuleType, type))]
            self._dicts.append((where, None, items))
            found += [value for _, value in items]
        return found


_NOTHING = object()


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty
        return _NOTHING


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def facts(tensor: Tensor) -> tuple[Any, ...]:
    """What a graph takes for granted about a tensor that it reads."""
    return tensor.dtype, tensor.device, tensor.shape, tensor.stride(), tensor.requires_grad


def _token(value: Any) -> Any:
    """What a graph depends on: of an object or container its kind, since what is in it has tokens of its own."""
    if isinstance(value, _PLAIN):
        return type(value), value
    if isinstance(value, Tensor):
        return id(value), facts(value)
    if isinstance(value, FunctionType):
        return id(value.__code__)
    walked = isinstance(value, (dict, list, tuple)) or (hasattr(value, "__dict__") and not isinstance(value, _OPAQUE))
    return type(value) if walked else id(value)
