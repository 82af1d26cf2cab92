"""Watch: what a graph took for granted about the programs that it was captured from.

A graph holds the path that the Python code took. A module that goes from training to evaluation, a weight that is frozen,
moved, cast or replaced by another tensor, or an attribute that is set to another number may lead to another path. All of
them are cheap to compare before each call, and a change leads to a graph of its own. What is *not* seen: values that
the code finds by other ways, such as a file, a list, or a random generator that is not torch's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import Any

from torch import Tensor, nn

_PLAIN = (bool, int, float, complex, str, type(None))


class Watch:
    """The state of some programs, as far as a captured graph depends on it.

    Args:
        programs: modules, functions, `functools.partial`s of them, Pyro handlers around them.

    Attributes:
        modules: all modules found, submodules included.
        key: hashable; equal keys mean that the same graph serves.
    """

    def __init__(self, *programs: Any) -> None:
        functions = list(_reachable(programs))
        found = [m for f in functions if isinstance(f, nn.Module) for m in f.modules()]
        self.modules = list({id(m): m for m in found}.values())
        self._entries = [entry for m in self.modules for entry in _module_entries(m)]
        self._entries += [entry for f in functions if isinstance(f, FunctionType) for entry in _global_entries(f)]
        self._cells = [(c, c.cell_contents) for f in functions for c in _cells(f) if _is_watched(c.cell_contents)]
        self._sizes = [(vars(m), len(vars(m))) for m in self.modules]
        tensors = [value for _, _, value in self._entries if isinstance(value, Tensor)]
        tensors += [value for _, value in self._cells if isinstance(value, Tensor)]
        self._tensors = [(t, _facts(t)) for t in tensors]
        plain = [(name, value) for _, name, value in self._entries if not isinstance(value, Tensor)]
        plain += [("", value) for _, value in self._cells if not isinstance(value, Tensor)]
        kinds = tuple((name, type(value), value) for name, value in plain)
        self.key = (tuple(id(m) for m in self.modules), kinds, tuple((id(t), facts) for t, facts in self._tensors))

    def changed(self) -> list[str]:
        """Names of the attributes and variables that have another value than they had."""
        names = [name for where, name, value in self._entries if where.get(name) is not value]
        return names + [repr(value) for cell, value in self._cells if cell.cell_contents is not value]

    def unchanged(self) -> bool:
        """Whether everything is as it was; may be False where an equal value was set anew."""
        return (
            all(where.get(name) is value for where, name, value in self._entries)
            and all(cell.cell_contents is value for cell, value in self._cells)
            and all(len(where) == size for where, size in self._sizes)
            and all(_facts(tensor) == facts for tensor, facts in self._tensors)
        )


def _facts(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.dtype, tensor.device, tensor.shape, tensor.requires_grad


def _is_watched(value: Any) -> bool:
    return isinstance(value, (*_PLAIN, Tensor))


def _module_entries(module: nn.Module) -> Iterator[tuple[dict[str, Any], str, Any]]:
    for where in (vars(module), module._parameters, module._buffers, module._modules):
        for name, value in where.items():
            if _is_watched(value) or where is module._modules:
                yield where, name, value


def _global_entries(function: FunctionType) -> Iterator[tuple[dict[str, Any], str, Any]]:
    where = function.__globals__
    for name in function.__code__.co_names:
        if name in where and _is_watched(where[name]):
            yield where, name, where[name]


def _cells(function: Any) -> Iterable[CellType]:
    cells = (getattr(function, "__closure__", None) or ()) if isinstance(function, FunctionType) else ()
    return [cell for cell in cells if not _is_empty(cell)]


def _is_empty(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return True
    return False


def _reachable(programs: Iterable[Any]) -> Iterator[Any]:
    """Modules and functions that are these programs, are wrapped in them, or are called by name in their code."""
    todo, seen = list(programs), set()
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, nn.Module):
            yield item
        elif isinstance(item, FunctionType):
            yield item
            todo += [cell.cell_contents for cell in _cells(item)]
            todo += [item.__globals__[n] for n in item.__code__.co_names if _is_program(item.__globals__.get(n))]
        elif isinstance(item, MethodType):
            todo += [item.__self__, item.__func__]
        elif isinstance(item, partial):
            todo += [item.func, *item.args, *item.keywords.values()]
        if hasattr(item, "__wrapped__"):
            todo.append(item.__wrapped__)


def _is_program(value: Any) -> bool:
    return isinstance(value, (nn.Module, partial, MethodType)) or (
        isinstance(value, FunctionType) and not value.__module__.startswith(("torch", "pyro.", "builtins"))
    )
