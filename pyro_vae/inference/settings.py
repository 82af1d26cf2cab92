"""What a loss or a schedule was made with, in plain words: what a run that goes on is held to.

`Bound(5)` and `Bound(50)` are of one class and not the same objective. So the settings of an object
are compared, which are its public attributes: numbers, strings, tensors, functions, and collections
of these. They are read before the first step, so that what an object counts while it trains is no
setting.

A function is told by its code, its defaults, what its closure holds and the numbers among the
globals that it names; a library's function by its name alone in place of code and globals. An
object that is called, or that a function holds, is told by its class and its own settings. Code is
compared within one version of Python alone: another compiles the same source to other bytes.
"""

from __future__ import annotations

import re
import sys
from functools import partial
from hashlib import sha256
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from pyro.infer import ELBO
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pyro_vae.data import fingerprint
from pyro_vae.graphs.names import names_in
from pyro_vae.graphs.reach import is_library

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)
# the first is guessed in the first step, the other is compared by itself
_FOUND = ("max_plate_nesting", "optimizer")
_PARTS = ("_schedulers", "_milestones")  # of torch's SequentialLR and ChainedScheduler
_TRAINED = (nn.Module, Optimizer)  # their state is no setting
_DEEPEST = 12
_LONGEST = 4096
_CODE = re.compile(r" code (\d+\.\d+):[0-9a-f]+")


def settings_of(thing: Any) -> dict[str, str]:
    """The settings of a loss or a schedule, by name.

    Example:
        >>> from pyro_vae.objectives import FreeBits
        >>> settings_of(FreeBits(0.25))["nats"]
        '0.25'
    """
    told = {name: _told(value, (id(thing),)) for name, value in _public(thing).items()}
    return {name: _shortened(text) for name, text in told.items()}


def difference(begun: dict[str, str], now: dict[str, str]) -> tuple[str, str] | None:
    """What differs, as it was and as it is; None where all that both of them know is the same.

    Example:
        >>> difference({"nats": "0.1", "older": "1"}, {"nats": "3.0"})
        ('nats=0.1', 'nats=3.0')
    """
    names = [name for name in begun if name in now and not _same(begun[name], now[name])]
    if not names:
        return None
    was, got = (", ".join(f"{name}={told[name]}" for name in names) for told in (begun, now))
    return was, got


def _same(was: str, got: str) -> bool:
    if set(_CODE.findall(was)) != set(_CODE.findall(got)):
        was, got = _CODE.sub("", was), _CODE.sub("", got)
    return was == got


def _public(thing: Any) -> dict[str, Any]:
    """Attributes without an underscore, and what a schedule is composed of."""
    attributes = getattr(thing, "__dict__", {})
    parts = _PARTS if isinstance(thing, LRScheduler) else ()
    public = {}
    for name, value in attributes.items():
        if (name in parts or not name.startswith("_")) and name not in _FOUND:
            public[name] = value
    return public


def _told(value: Any, path: tuple[int, ...]) -> str:
    """A value in words; path: the ids of the objects through which it was reached."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {fingerprint(value)}"
    if len(path) > _DEEPEST or id(value) in path:
        return type(value).__name__

    path = (*path, id(value))
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_told(part, path) for part in value)}]"
    if isinstance(value, dict):
        parts = [f"{name}: {_told(part, path)}" for name, part in value.items()]
        return f"{{{', '.join(parts)}}}"

    if isinstance(value, partial):
        return _told([value.func, list(value.args), value.keywords], path)
    if isinstance(value, (type, BuiltinFunctionType)):
        return value.__qualname__
    if isinstance(value, FunctionType):
        return _function(value, path)
    if isinstance(value, MethodType):
        return f"{_told(value.__func__, path)} of {_held(value.__self__, path)}"
    if isinstance(value, (ELBO, LRScheduler)) or callable(value):
        return _object(value, path)
    return type(value).__name__


def _held(value: Any, path: tuple[int, ...]) -> str:
    """What a function holds: an object that is not called, too, by its own settings."""
    told = _told(value, path)
    if told == type(value).__name__ and id(value) not in path:
        return _object(value, path)
    return told


def _object(value: Any, path: tuple[int, ...]) -> str:
    """An object by its class and its own settings; modules, and what is trained, by their class."""
    public = {} if isinstance(value, (ModuleType, *_TRAINED)) else _public(value)
    return f"{type(value).__name__} {_told(public, path)}" if public else type(value).__name__


def _function(function: FunctionType, path: tuple[int, ...]) -> str:
    code, own = function.__code__, not is_library(function.__module__)
    names = [name for name in names_in(code).variables if own and not name.startswith("__")]
    held: dict[str, str] = {}
    for name in names:
        value = function.__globals__.get(name)
        if isinstance(value, (int, float, complex)):
            held[name] = repr(value)

    defaults = dict(enumerate(function.__defaults__ or ())) | (function.__kwdefaults__ or {})
    held |= {f"default {name}": _held(value, path) for name, value in defaults.items()}
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    held |= {name: _cell(cell, path) for name, cell in cells}

    told = f"{function.__qualname__} {_constants(code)}"
    if held:
        told += f" with {', '.join(f'{name}={text}' for name, text in held.items())}"
    if own:
        version = ".".join(map(str, sys.version_info[:2]))
        told += f" code {version}:{_digest(code)}"
    return told


def _shortened(text: str) -> str:
    """A long text by its beginning and a checksum."""
    if len(text) <= _LONGEST:
        return text
    return f"{text[:80]}... {sha256(text.encode()).hexdigest()[:16]}"


def _cell(cell: CellType, path: tuple[int, ...]) -> str:
    try:
        return _held(cell.cell_contents, path)
    except ValueError:  # it is empty
        return ""


def _constants(code: CodeType) -> list[str]:
    return [repr(constant) for constant in code.co_consts if isinstance(constant, _PLAIN)]


def _digest(code: CodeType) -> str:
    """The same for the same code in another process: no addresses, no order of sets."""

    def told(constant: Any) -> str:
        if isinstance(constant, CodeType):
            return _digest(constant)
        if isinstance(constant, (tuple, frozenset)):
            parts = list(map(told, constant))
            parts = parts if isinstance(constant, tuple) else sorted(parts)
            return f"{type(constant).__name__} {parts}"
        return repr(constant)

    numbers = (code.co_argcount, code.co_flags)
    parts = (code.co_code.hex(), code.co_names, *numbers, told(code.co_consts))
    return sha256(repr(parts).encode()).hexdigest()[:16]
